"""Every block of code in README, docs/ and beside: run, or checked as far as it can be here.

What is done with a block follows from its language, and a language that is not known is refused:

- `python` is run, a page in one go, in a folder with the few files that pages begin with. Numbers
  of iterations, networks and epochs are lowered. A block that imports what is not installed here is
  compiled.
- `yaml` is an overlay on config.yaml, and as such without a fault.
- `sh`, and whatever in a line of text begins with one of its commands: options, targets, files and
  configs of Snakemake, `dclib`, make, Python and pip exist. Commands of the system and of SLURM are
  known by name, and not run.
- `snakemake` is run by tests/workflow/test_wheel.py.
- `math` is drawn when the site is built; without a language are outputs and pictures in text.
"""

import ast
import functools
import importlib.util
import itertools
import re
import shlex
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from mkdocs.exceptions import PluginError
from PIL import Image
from snakemake.cli import get_argument_parser

import dclib
from dclib.data import sources
from dclib.pipeline import command, settings
from dclib.pipeline.grid import Grid
from dclib.pipeline.outputs import AGGREGATES, RULES, files
from dclib.pipeline.paths import Cell

AROUND = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "config/README.md")
PAGES = [*AROUND, *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SYSTEM = {".", "cat", "cd", "cp", "git", "mkdir", "scancel", "sed", "sinfo", "squeue", "tmux"}
PATTERNS = [
    re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
    for rule in RULES
    for path in files(rule, "results").outputs.values()
]


@functools.cache
def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, *languages):
    """The blocks of a page in these languages, without what they are indented by."""
    found = [(match[2], match[3], match[1]) for match in BLOCK.finditer(text(page))]
    return [re.sub(f"^{i}", "", code, flags=re.M) for kind, code, i in found if kind in languages]


def having(*languages):
    return [page for page in PAGES if blocks(page, *languages)]


def test_every_block_is_of_a_known_kind():
    kinds = {match[2] for page in PAGES for match in BLOCK.finditer(text(page))}
    assert kinds == {"python", "yaml", "sh", "snakemake", "math", ""}
    for page in PAGES:
        assert text(page).count("```") == 2 * len(BLOCK.findall(text(page))), page
    assert having("snakemake") == ["docs/command.md"]


@pytest.mark.parametrize("page", having("python"))
def test_python_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dclib.condense(dclib.read("digits"), "random", 1).save("set.safetensors")
    rows = [(f"p/{split}{name}.png", name, split) for split in ("train", "test") for name in "1c"]
    Path("p").mkdir()
    for i, (path, _, _) in enumerate(rows):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(path)
    lines = [",".join(row) for row in (("path", "label", "split"), *rows)]
    Path("pictures.csv").write_text("\n".join(lines))
    for name in ("condense", "evaluate"):
        function = getattr(dclib, name)
        monkeypatch.setattr(dclib, name, functools.partial(with_less, function), raising=False)
    names = {}
    for block in blocks(page, "python"):
        code = compile(block, page, "exec")
        wanted = {name.split(".")[0] for name in imported(block)}
        if all(importlib.util.find_spec(name) for name in wanted):
            exec(code, names)
    printed = capsys.readouterr().out
    accuracies = [float(found) for found in re.findall(r"^([\d.]+) ± ", printed, re.MULTILINE)]
    assert not accuracies or accuracies[0] > 40, printed  # of ten classes; noise gives 10
    if page == "docs/data.md":
        data = sources.read({"name": "own", "source": "folder", "path": "own"})
        assert data.class_names == ("1", "c")
        assert data.train_images[:, 0, 0, 0].tolist() == [0, 1]
        assert data.test_images[:, 0, 0, 0].tolist() == [2, 3]


def with_less(function, *given, **more):
    least = {"iterations": 5}
    if function.__name__ == "evaluate":
        least = {"models": 2, "epochs": 30, "curve_points": 1}
    if "random" in given or "settings" in more:
        least = {}
    return function(*given, **more | {k: min(more.get(k, v), v) for k, v in least.items()})


def imported(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


BASE = settings.load([ROOT / "config.yaml"])


def grid(page, names):
    """The grid of overlays: those that the page tells, or else the repository has.

    One that is nowhere is a reader's own, and changes nothing.
    """
    told = {code.splitlines()[0].removeprefix("# "): code for code in blocks(page, "yaml")}
    overlays = []
    for name in map(str, names):
        if name in told:
            overlays.append(told[name])
        elif (ROOT / name).is_file():
            overlays.append(text(name))
        else:
            assert "/" not in name or "DATE" in name, f"{page}: there is no {name}"
    return planned(*overlays)


@functools.cache
def planned(*overlays):
    """The grid of overlays on config.yaml, which change something in it."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.yaml") for i in range(len(overlays))]
        for path, overlay in zip(paths, overlays, strict=True):
            path.write_text(overlay)
        config = settings.load([ROOT / "config.yaml", *paths])
    assert config != BASE or not overlays, overlays
    return Grid(config, None, BASE)


@pytest.mark.parametrize("page", having("yaml"))
def test_yaml_is_an_overlay(page):
    for block in blocks(page, "yaml"):
        planned(block)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_known(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(command.CONFIG).touch()  # as in a folder after `dclib init`
    written = "".join(blocks(page, "sh")).replace("\\\n", "")
    lines = written.splitlines()
    prose = BLOCK.sub("", text(page))
    said = [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", prose)]
    lines += [words for words in said if re.match(r"(snakemake|make|dclib|python|pip) \S", words)]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for ends, words in itertools.groupby(lexer, lambda word: word in ("&&", ";", "|")):
            if not ends:
                check(page, [*itertools.takewhile(lambda word: word != ">", words)])


def check(page, words):
    """One command exists, and what is said to it."""
    while "=" in words[0]:  # a variable of its environment
        words = words[1:]
    name, *words = words
    line = f"{page}: {name} {' '.join(words)}"
    if name == "make":
        makefile = (ROOT / "Makefile").read_text()
        for word in words:
            variable = word.partition("=")[0]
            assert re.search(rf"^{word}:|^{variable} \?=|\$\({variable}\)", makefile, re.M), line
    elif name == "snakemake":
        check_targets(page, words)
    elif name == "dclib" and words[0] == "run":
        check_targets(page, command.arranged(words[1:]))
    elif name == "dclib":
        assert words[0] in ("init", "status", "--version"), line
        if words[0] == "status":
            command.status_options().parse_args([w for w in words[1:] if w != "[CONFIG...]"])
    elif name == "python":
        module = words[0] == "-m"
        assert importlib.util.find_spec(words[1]) if module else (ROOT / words[0]).is_file(), line
    elif name == "pip":
        assert words[0] == "install", line
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extra in re.findall(r"\[(\w+)\]", words[1]):
            assert extra in project["optional-dependencies"], line
    else:
        assert name in SYSTEM, line


def check_targets(page, words):
    """Snakemake's options can be parsed, its profiles and configs are there, as are its targets."""
    given = get_argument_parser().parse_args(words)
    line = f"{page}: {' '.join(words)}"
    configs = [name for name in given.configfile or [] if str(name) != command.CONFIG]
    assert all(str(name).endswith(".yaml") for name in configs), line
    for profile in {given.workflow_profile, *(given.profile or ())} - {None}:
        assert (ROOT / profile).is_dir() or (ROOT / "profiles" / profile).is_dir(), line
    asked = grid(page, configs)
    for target in given.targets:
        if not target.startswith("results/"):
            assert target in {"all", "figures", *AGGREGATES}, line
            continue
        assert any(pattern.fullmatch(target) for pattern in PATTERNS), line
        if "/ipc-" in target:
            asked.check(Cell.of(target.removeprefix("results/"))[0])
        else:
            asked.dataset(target.split("/")[1])


def slugs(page):
    """The anchors of a page, as GitHub and the site make them."""
    heads = re.findall(r"^#+ (.+)$", BLOCK.sub("", text(page)), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads]
    return {re.sub(r"[^\w -]", "", head).replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]*)\)", BLOCK.sub("", text(page))):
        if re.match("[a-z]+:", target):
            assert re.fullmatch(r"https://[\w.-]+(/[\w./~%#?=&-]*)?", target), target
            continue
        path, _, anchor = target.partition("#")
        place = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert place.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in slugs(str(place.relative_to(ROOT))), f"{page}: {target}"


spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


def test_tests_and_rows_that_are_named_exist():
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    named = {*re.findall(r"`(test_\w+)[`\[]", text("docs/reliability.md"))}
    assert len(named) > 15
    assert not named - defined
    rows = {name for page in PAGES for name in re.findall(r"results/(\w+\.csv)", text(page))}
    assert len(rows) > 5
    there = {path.name for path in (ROOT / "benchmarks/results").iterdir()}
    assert rows - there == {"speed_cuda.csv"}  # of which the page says that a card writes it


def test_links_in_code_are_none():
    text = "`a [b](c) d`, ``e ` [f](g)``,\n\n```py\nh[i](j)\n```\n\n[`k`](README.md) and `l`"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    shown = hooks.on_page_markdown(text, page, None, None)
    assert shown.startswith(text.partition("[`k`]")[0])
    assert "[`k`](index.md) and " in shown


@pytest.mark.parametrize("place", ["schemas", "docs/images/digits.png"])
def test_what_cannot_be_shown_is_named(place):
    with pytest.raises(PluginError, match=f"links to {place}, which is neither text nor a folder"):
        hooks.code(Path(place))
