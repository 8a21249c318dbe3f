"""A damaged file is told from a whole one by its size and header, or its rows."""

import pytest
import torch

from dclib import files, integrity


def test_a_whole_file_and_all_its_beginnings(tmp_path):
    path = tmp_path / "set.safetensors"
    files.write_tensors(path, {"a": torch.zeros(3), "b": torch.ones(2, 2)}, {"name": "value"})
    assert integrity.damage(path) is None
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert integrity.damage(path)
    path.write_bytes(content + b"x")
    assert integrity.damage(path) == f"it has {len(content) + 1} bytes instead of {len(content)}"


@pytest.mark.parametrize("header", [b"[]", b"{}}", b'{"a": 1}', b'{"a": {}}', b"\xff\xff"])
def test_a_wrong_header(tmp_path, header):
    path = tmp_path / "set.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "header" in integrity.damage(path)


ROWS = b"model,seed\n0,1\n1,2\n"
CURVE = b"model,epoch\n0,1\n0,2\n1,1\n1,2\n"


@pytest.mark.parametrize(
    ("content", "models", "damage"),
    [
        (ROWS, 2, None),
        (CURVE, 2, None),
        (ROWS[:-1], 2, "its last line is cut short"),
        (ROWS[:-4], 2, "it has 1 models instead of 2"),
        (CURVE[:-4], 2, "rows of a model are missing"),
        (CURVE[:-8], 2, "it has 1 models instead of 2"),
        (b"", 2, "its last line is cut short"),
    ],
)
def test_tables(tmp_path, content, models, damage):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    assert integrity.damage(path, models) == damage
