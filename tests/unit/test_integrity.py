"""Damage is told from what is in a file, whatever that is, and never ends in an exception."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
    assert integrity.damage(path)


def offsets(end):
    return json.dumps(
        {"images": {"dtype": "F32", "shape": [1], "data_offsets": [0, end]}}
    ).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"[]", None), (b"{}}", None), (b'{"a": 1}', None), (b'{"a": {}}', None), (b"null", None),
        (b'{"a": {"data_offsets": [0]}}', None), (b"\xff\xff", None), (offsets("4"), None),
        (offsets(None), None), (offsets([4]), None), (offsets(4.0), None),
        (offsets(4).replace(b"4]", b"1e400]"), None), (offsets(4).replace(b"4]", b"NaN]"), None),
        (b"[" * 100000, None), (b'{"a":' * 100000, None), (b"1" * 5000, None), (b"{}", 2**63),
        (b"{}", 2**64 - 1), ("{}".encode("utf-16"), None), (b"{}", None),
        (b'{"__metadata__": {"json": "[1]"}}', None), (b'{"__metadata__": {"json": "{"}}', None),
    ],
)  # fmt: skip
def test_a_wrong_header(tmp_path, header, length):
    path = tmp_path / "set.safetensors"
    size = len(header) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + header + b"\0" * 4)
    assert integrity.damage(path)


ROWS = b"model,test_accuracy\n0,10.5\n1,20.5\n"
CURVE = b"model,epoch,test_accuracy\n0,1,5\n0,2,6\n1,1,7\n1,2,8\n"


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("n.csv", ROWS, None),
        ("n.curve.csv", CURVE, None),
        ("n.csv", ROWS[:-1], "its last line is cut short"),
        ("n.csv", ROWS.replace(b"0,10.5\n", b""), "model 0 is missing; there is a model 1"),
        ("n.csv", ROWS.replace(b"20.5", b"900"), "a test_accuracy is 900.0; allowed is 0 to 100"),
        ("n.csv", ROWS.replace(b"20.5", b"nan"), "a test_accuracy is nan; allowed is 0 to 100"),
        ("n.csv", ROWS.replace(b"1,20", b"0,20"), "rows of model 0 are missing or there twice"),
        ("n.curve.csv", CURVE[:-6], "rows of model 1 are missing or there twice"),
        ("n.csv", b"model,test_accuracy\n", "rows are missing"),
        ("n.csv", b"model,seed\n0,1\n", "it has not one column test_accuracy"),
        ("n.csv", b"", "its last line is cut short"),
    ],
)
def test_tables(tmp_path, name, content, damage):
    (tmp_path / name).write_bytes(content)
    found = integrity.damage(tmp_path / name)
    assert found is None if damage is None else found.startswith(damage)


@given(
    content=st.binary(max_size=200), name=st.sampled_from(["a.csv", "a.curve.csv", "a.safetensors"])
)
def test_any_bytes(content, name, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    found = integrity.damage(path)
    assert found is None or len(found.splitlines()) <= 1
