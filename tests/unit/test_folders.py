"""Links are followed, and cannot lead round in a circle."""

import pytest

from dclib import provenance
from dclib.data import sources
from dclib.data.folders import files_in
from dclib.errors import InputError


def test_files_are_found_in_order_and_through_links(tmp_path):
    for name in ("own/b/2", "own/a", "own/b/1", "elsewhere/3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "own/c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "own/d").symlink_to(tmp_path / "elsewhere")  # twice is no circle
    found = [str(path.relative_to(tmp_path / "own")) for path in files_in(tmp_path / "own")]
    assert found == ["a", "b/1", "b/2", "c/3", "d/3"]


def test_a_circle_is_refused(tmp_path):
    for name in ("train/rose", "train/tulip", "test/rose", "test/tulip"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").touch()
    assert len(sources.list_images("own", tmp_path)["train"]["tulip"]) == 1
    (tmp_path / "train/tulip/again").symlink_to("..")
    (tmp_path / "train/rose/other").symlink_to("../tulip")
    message = (
        "data set 'own': .*/train/rose/other/again/rose: a link that leads back to .*/train/rose"
    )
    with pytest.raises(InputError, match=message):
        sources.list_images("own", tmp_path)


def test_a_linked_data_set_is_another_one_when_an_image_changes(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own/train").symlink_to(tmp_path / "there")
    reader = tmp_path / "reader.py"
    reader.touch()
    digests = set()
    for content in ("1", "2"):
        (tmp_path / "there/image").write_text(content)
        provenance._content_digest.cache_clear()
        digests.add(provenance.data_digest({"path": str(tmp_path / "own")}, reader))
    assert len(digests) == 2
