"""The schema and the page of settings are in step with dclib; YAML is read as people mean it."""

import json
import subprocess
import sys
import time

import pytest
import yaml
from conftest import ROOT
from snakemake.utils import update_config

from dclib import methods
from dclib.errors import InputError
from dclib.pipeline import schema, settings


def test_the_schema_and_the_page_are_in_step():
    """Else: python -m dclib.pipeline.settings."""
    assert settings.SCHEMA.read_text() == settings.schema_text()
    assert settings.PAGE.read_text() == settings.page()
    assert yaml.safe_load(settings.SCHEMA.read_text()) == schema.schema()


def test_every_key_is_described_and_closed():
    def walk(part, path):
        if "$ref" in part:
            return
        assert "description" in part or "else" in part, path
        if part.get("type") == "object" and "properties" in part:
            assert part["additionalProperties"] is False, path
        for key, value in part.get("properties", {}).items():
            walk(value, f"{path}.{key}")
        if "items" in part:
            walk(part["items"], f"{path}[]")

    walk(schema.schema(), "config")
    for name, part in schema.schema()["$defs"].items():
        walk(part, name)


def test_every_setting_of_a_learnt_method_is_on_the_page():
    for name in schema.learnt():
        section = settings.page().split(f"## `condensation.{name}`")[1].split("\n## ")[0]
        for key in methods.face(name).settings.__dataclass_fields__:
            assert f"| `{key}` |" in section


def test_the_configuration_needs_no_pytorch():
    code = (
        "import sys; from dclib.pipeline import grid, schema; schema.schema(); "
        "print([m for m in ('torch', 'torchvision', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.fixture
def file(tmp_path):
    def written(text, name="own.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


WORDS = [
    ("on", "on"), ("yes", "yes"), ("010", "010"), ("1:30", "1:30"), ("1_0", "1_0"),
    ("2024-01-01", "2024-01-01"), ("0x10", "0x10"), ("08", "08"), ("1e3", "1e3"), ("'10'", "10"),
    ("10", 10), ("-3", -3), ("0.5", 0.5), (".5e-3", 0.0005), ("~", None), ("null", None),
    ("", None), ("true", True), ("False", False), ("9" * 5000, "9" * 5000), ("\u0661", "\u0661"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "value"), WORDS, ids=lambda x: str(x)[:12])
def test_words_are_numbers_only_where_they_look_like_them(word, value, file):
    found = settings.load([file(f"key: {word}\n{word[:99] or 'none'}: 1\n")])
    assert found["key"] == value
    assert type(found["key"]) is type(value)
    assert list(found) == ["key", word.strip("'")[:99] or "none"]  # a key is what is written


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
REFUSED = [
    ("seeds: [0]\nmethods: [dc]\nseeds: [1]\n", "'seeds' is given twice, in line 1 and in line 3"),
    ("a: {10: 1,\n '10': 2}\n", "'10' is given twice, in line 1 and in line 2"),
    ("a:\n  b: 1\n  c: 2\n  b: 1\n", "'b' is given twice, in line 2 and in line 4"),
    (BOMB, "has more than 100000 values"),
    ("a: &a [*a]\n", "more than 50 deep"),
    ("[" * 100_000, "more than 50 deep"),
    ("a:\n\tb: 1\n", "line 2, column 1"),
    ("a: 1\n---\nb: 2\n", "another document, line 2, column 1"),
    ("a: !!python/object/apply:os.system [ls]\n", "'!!python/object/apply:os.system' is not"),
    ("a: !mine b\n", "the tag '!mine' is not allowed"),
    ("? [a]\n: b\n", "a key has to be a word"),
    ("a: {<<: b}\n", "only mappings can be merged"),
    ("a: \x07\n", "special characters are not allowed"),
    ("", "it has no lines 'KEY: VALUE'"),
    ("- a\n", "it has no lines 'KEY: VALUE'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_nobody_means_is_refused(text, why, file):
    path, began = file(text), time.monotonic()
    with pytest.raises(InputError) as raised:
        settings.load([path])
    message = str(raised.value)
    assert str(path) in message
    assert why in message
    assert message.isprintable()
    assert time.monotonic() - began < 20


def test_a_file_that_cannot_be_read(tmp_path):
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"cannot be read .{why}"):
            settings.load([path])


def test_a_byte_order_mark_anchors_and_json(file):
    found = settings.load(
        [file("\ufeffa: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 1}]}")]
    )
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2, "z": 1}}
    found["a"]["x"] = 5
    assert found["b"]["x"] == 1
    value = {"a": [1, 2.5, None, True], "b": {"c": "d"}}
    assert settings.load([file(json.dumps(value))]) == value


def test_overlays_are_merged_as_snakemake_merges_them(file):
    texts = [
        "a: {b: {c: 1, d: 2}, e: [1, 2]}\nf: null\ng: {h: 1}\n",
        "a: {b: {c: 3}, e: [4]}\nf: {i: 1}\n",
        "g: 5\na: {j: {}}\n",
    ]
    files = [file(text, f"{i}.yaml") for i, text in enumerate(texts)]
    expected = {}
    for text in texts:
        update_config(expected, yaml.safe_load(text))
    assert settings.load(files) == expected
    assert settings.load(files, {"a": {"e": [7]}, 8: 9}) == {
        **expected, "a": {**expected["a"], "e": [7]}, "8": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seeds: [010]", "seeds[0]"),
        ("seeds: [1_0]", "seeds[0]"),
        ("images_per_class: [1:30]", "images_per_class[0]"),
        ("images_per_class: [08]", "images_per_class[0]"),
        ("seeds: ['\u0663']", "seeds[0]"),
        ("seeds: ['3', 3]", "seeds"),
        ("condensation: {dd: {augment_real: yes}}", "condensation.dd.augment_real"),
        ("condensation: {dc: {lr_img: '0,5'}}", "condensation.dc.lr_img"),
        ("datasets: [{name: 1.0, source: digits}]", "datasets[0].name"),
        ("datasets: [{name: null, source: digits}]", "datasets[0].name"),
    ],
)
def test_what_is_no_number_or_name_is_refused(text, key, file):
    config = settings.load([ROOT / "config.yaml", file(text)])
    with pytest.raises(InputError) as raised:
        settings.parse(config)
    assert f"config key '{key}': " in str(raised.value)
    assert " is not allowed" in str(raised.value)


def test_what_spells_a_number_is_taken_for_it(file):
    text = (
        "condensation: {dc: {lr_img: 1e-3}}\ndatasets: [{name: on, source: digits}]\nseeds: ['7']"
    )
    parsed = settings.parse(settings.load([ROOT / "config.yaml", file(text)]))
    assert parsed["condensation"]["dc"]["lr_img"] == 0.001
    assert parsed["datasets"] == [{"name": "on", "source": "digits"}]
    assert parsed["seeds"] == [7]
