"""A damaged file is told from a whole one by its size and header, or its rows."""

import pytest
import torch

from dclib.pipeline import integrity
from dclib.tensors import write_tensors


def test_a_whole_file_and_all_its_beginnings(tmp_path):
    path = tmp_path / "set.safetensors"
    write_tensors(path, {"a": torch.zeros(3), "b": torch.ones(2, 2)}, {"name": "value"})
    assert integrity.damage(path) is None
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert integrity.damage(path)
    path.write_bytes(content + b"x")
    assert integrity.damage(path) == f"it has {len(content) + 1} bytes instead of {len(content)}"


SHORT = b'{"a": {"data_offsets": [0]}}'


@pytest.mark.parametrize("header", [b"[]", b"{}}", b'{"a": 1}', b'{"a": {}}', b"\xff\xff", SHORT])
def test_a_wrong_header(tmp_path, header):
    path = tmp_path / "set.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "header" in integrity.damage(path)


ROWS = b"model,seed\n0,1\n1,2\n"
CURVE = b"model,epoch\n0,1\n0,2\n1,1\n1,2\n"


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("n.csv", ROWS, None),
        ("n.curve.csv", CURVE, None),
        ("n.csv", ROWS[:-1], "its last line is cut short"),
        ("n.csv", ROWS[:-4], "it has 1 models, and the curves beside it have 2"),
        ("n.csv", ROWS.replace(b"0,1\n", b""), "rows of a model are missing"),
        ("n.curve.csv", CURVE[:-4], "rows of a model are missing"),
        ("n.csv", b"model,seed\n", "rows of a model are missing"),
        ("n.csv", b"", "its last line is cut short"),
    ],
)
def test_tables(tmp_path, name, content, damage):
    (tmp_path / "n.curve.csv").write_bytes(CURVE)
    (tmp_path / name).write_bytes(content)
    assert integrity.damage(tmp_path / name) == damage


def test_a_table_of_other_settings_is_not_damaged(tmp_path):
    """How many networks the config asks for now makes a table stale, and not damaged."""
    (tmp_path / "n.csv").write_bytes(ROWS)
    (tmp_path / "n.curve.csv").write_bytes(CURVE)
    assert integrity.damage(tmp_path / "n.csv") is None
