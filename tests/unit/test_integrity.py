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


@pytest.mark.parametrize(
    ("content", "rows", "damage"),
    [
        (b"model,seed\n0,1\n1,2\n", 2, None),
        (b"model,seed\n0,1\n1,2\n", None, None),
        (b"model,seed\n0,1\n1,2", 2, "its last line is cut short"),
        (b"model,seed\n0,1\n", 2, "it has 1 rows instead of 2"),
        (b"", None, "its last line is cut short"),
    ],
)
def test_tables(tmp_path, content, rows, damage):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    assert integrity.damage(path, rows) == damage
