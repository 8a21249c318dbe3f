"""Digests of files are taken once, and anew whenever the bytes may have changed."""

import hashlib
import os

import pytest

from dclib import files
from dclib.data import sources
from dclib.errors import InputError
from dclib.pipeline.staleness import Hashes, differences


@pytest.fixture
def hashes(tmp_path):
    return Hashes(tmp_path / "notes/hashes.json")


def test_a_digest_is_taken_once(tmp_path, hashes, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert hashes.sha256(path) == expected
    hashes.save()
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("it is known"))
    monkeypatch.chdir(tmp_path)
    assert Hashes(tmp_path / "notes/hashes.json").sha256("file") == expected


def test_another_content_is_noticed_whatever_its_time_says(tmp_path, hashes):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    hashes.sha256(path)
    before = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes.sha256(path) == hashlib.sha256(b"CONTENT").hexdigest()


@pytest.mark.parametrize(
    "notes", [b"", b"[]", b"\xff", b'{"a": 1}', b'{"PATH": [1, 2]}', b"[" * 9999]
)
def test_damaged_notes_are_no_fault(tmp_path, notes):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    kept = tmp_path / "hashes.json"
    kept.write_bytes(notes.replace(b"PATH", str(path).encode()))
    hashes = Hashes(kept)
    assert hashes.sha256(path) == hashlib.sha256(b"content").hexdigest()
    hashes.save()
    assert str(path) in kept.read_text()


def test_notes_without_a_place_are_not_kept(tmp_path, hashes):
    (tmp_path / "notes").write_text("a file in the way")
    (tmp_path / "file").write_bytes(b"content")
    hashes.sha256(tmp_path / "file")
    hashes.save()


def test_files_that_cannot_be_read(tmp_path, hashes, monkeypatch):
    monkeypatch.setattr(sources, "content", lambda options: [("1.png", tmp_path / "1.png")])
    with pytest.raises(InputError, match=r"1\.png: cannot be read \(No such file or directory\)"):
        hashes.content({})


MARK = {
    "cell": {"seed": 0}, "settings": {"lr": 0.1, "epochs": 3, "of": {"a/b": 1}}, "code": "c",
    "data": "d",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"code": "x"}, "code has changed"),
        ({"data": "x"}, "data has changed"),
        ({"cell": {"seed": 1}}, "cell: seed 0 -> 1"),
        ({"settings": {"of": {"a/b": 1}, "epochs": 3, "lr": 0.1}}, ""),
        ({"settings": {**MARK["settings"], "lr": 0.2}}, "settings: lr 0.1 -> 0.2"),
        ({"settings": {"lr": 0.1, "of": {"a/b": 1}}}, "settings: epochs 3 -> none"),
        ({"settings": {**MARK["settings"], "a": None}}, "settings: a none -> null"),
        ({"settings": dict.fromkeys("abcd", 1)},
         "settings: a none -> 1, b none -> 1, c none -> 1 and 4 more"),
        ({"settings": {**MARK["settings"], "of": {"a/b": 2, "c": {"d": 1}, "e": {}}}},
         "settings: of[a/b] 1 -> 2, of[c][d] none -> 1, of[e] none -> {}"),
        ({"settings": {"lr": 0.2}, "code": "x"},
         "settings: epochs 3 -> none, lr 0.1 -> 0.2, of[a/b] 1 -> none; code has changed"),
    ],
)  # fmt: skip
def test_what_differs_is_said(change, why):
    assert differences(MARK, {**MARK, **change}) == why


@pytest.mark.parametrize(
    "mark", [{}, {"cell": 1, "settings": [], "code": None}, {"settings": {"lr": []}}]
)
def test_a_mark_that_is_none_differs(mark):
    assert differences(mark, MARK)
