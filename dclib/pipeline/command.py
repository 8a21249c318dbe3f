"""The command `dclib`: a grid in a folder of your own, wherever the workflow is installed.

It is thin: `dclib run` becomes Snakemake, with the Snakefile that came with the package.
"""

import argparse
import importlib.util
import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import dclib
from dclib.errors import InputError
from dclib.pipeline import locks, start, status
from dclib.pipeline.paths import WORKFLOW
from dclib.pipeline.staleness import Staleness

CONFIG = "dclib.yaml"  # of a folder
LONGEST = 86400  # seconds between two looks
_YAML = (".yaml", ".yml", ".json")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="dclib", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=dclib.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help=f"write {CONFIG}, a small grid to begin with").add_argument(
        "folder", nargs="?", default=".", type=Path
    )
    commands.add_parser(
        "run",
        help=f"make what {CONFIG} asks for; takes Snakemake's options and targets, in any order",
        add_help=False,
    )
    commands.add_parser("status", help="print how far the grid is", parents=[status_options()])
    words = sys.argv[1:]
    with start.in_one_line():
        if words[:1] == ["run"]:
            run(words[1:])
        given = parser.parse_args(words)
        if given.command == "init":
            init(given.folder)
        else:
            own = [Path(CONFIG)] if Path(CONFIG).exists() else []
            show_status(given.overlay or own, given.json, given.watch)


def init(folder: Path) -> None:
    """Write a config to begin with.

    Raises:
        InputError: there is one, or it cannot be written.
    """
    path = folder / CONFIG
    if os.path.lexists(path):
        raise InputError(f"{path}: is there already; `dclib run` makes what it asks for")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(WORKFLOW / "config/start.yaml", path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    print(f"{path} is written: change it as you like, then call `dclib run` there")


def run(words: Sequence[str]) -> None:
    """Become Snakemake.

    Args:
        words: its options and targets.

    Raises:
        InputError: there is no Snakemake, or nothing to run.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise InputError(
            "Snakemake is not installed; it comes with `pip install '.[workflow]'` in a checkout, "
            "or with `'FILE[workflow]'` of a wheel"
        )
    command = [sys.executable, "-m", "snakemake", *arranged(words)]
    sys.stdout.flush()
    os.execv(sys.executable, command)


def arranged(words: Sequence[str]) -> list[str]:
    """Return Snakemake's arguments with targets last, and what is not said added.

    Options that take several words, as `--resources gpu=1`, swallow targets that follow them. What
    has no `=` in it, or is no YAML after `--configfile`, is a target.

    Raises:
        InputError: there is no config in this folder, and none is named.
    """
    from snakemake.cli import get_argument_parser

    options = get_argument_parser()._option_string_actions
    kept, targets, seen, rest = list[str](), list[str](), set[str](), iter(words)
    taking: argparse.Action | None = None
    room = 0.0  # how many words the option may still take
    for word in rest:
        if word == "--":
            targets += rest
        elif re.match("-[^0-9]", word):
            kept.append(word)
            taking, room = _option(word, options)
            seen |= {taking.dest} if taking else set()
        elif taking is not None and room > 0 and _belongs(word, taking):
            kept.append(word)
            room -= 1
        else:
            targets.append(word)
    return [*_unsaid(seen), *kept, *(["--", *targets] if targets else [])]


def _option(
    word: str, options: Mapping[str, argparse.Action]
) -> tuple[argparse.Action | None, float]:
    """What an option is, which may be shortened, and how many words it takes besides this one."""
    name, equals, _ = word.partition("=")
    found = options.get(name)
    if found is None and name.startswith("--"):
        found = next((options[each] for each in options if each.startswith(name)), None)
    elif found is None:  # as -c4
        return options.get(name[:2]), 0
    several: dict[Any, float] = {None: 1.0, "?": 1.0, "+": math.inf, "*": math.inf}
    takes: Any = found.nargs if found is not None else 0
    return found, 0 if equals else several.get(takes, takes)


def _belongs(word: str, option: argparse.Action) -> bool:
    """Whether a word can be one of those that an option takes."""
    if option.nargs is None or isinstance(option.nargs, int):
        return True
    if option.dest == "configfile":
        return word.endswith(_YAML)
    if option.choices is not None:
        return word in option.choices
    return "=" in word or "=" not in str(option.metavar)


def _unsaid(seen: Collection[str]) -> list[str]:
    """Options that Snakemake needs and nobody has given: Snakefile, config and cores."""
    more = []
    if "snakefile" not in seen:
        more = ["--snakefile", str(WORKFLOW / "Snakefile")]
        if Path(CONFIG).exists():
            more += [] if "configfile" in seen else ["--configfile", CONFIG]
        elif not {"configfile", "help", "version"} & {*seen} and Path.cwd() != WORKFLOW:
            raise InputError(
                f"{CONFIG}: is not in this folder; `dclib init` writes one, and --configfile names "
                "another"
            )
    if not {"cores", "jobs", "executor", "profile", "workflow_profile"} & {*seen}:
        more += ["--cores", "all"]
    return more


def status_options() -> argparse.ArgumentParser:
    """Return what reads the words after `dclib status`, or after the name of the script."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overlay", nargs="*", type=Path, help="configs, as given to --configfile")
    parser.add_argument("--json", action="store_true", help="for programs: a line of JSON")
    parser.add_argument(
        "--watch", nargs="?", type=_seconds, const=5.0, metavar="SECONDS",
        help="print it anew every few seconds (5), until everything is done or Ctrl-C",
    )  # fmt: skip
    return parser


def _seconds(text: str) -> float:
    """What is said after --watch."""
    try:
        if 0 < (seconds := float(text)) <= LONGEST:
            return seconds
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0, up to {LONGEST}")


def show_status(overlays: Sequence[Path], as_json: bool, watch: float | None) -> None:
    """Print how far a grid is, once or again and again.

    Args:
        overlays: as given to --configfile.
        as_json: a line for programs instead of tables.
        watch: seconds between two looks; None for one look.

    Raises:
        InputError: something is wrong with the configuration.
    """
    plan, hashes = start.plan(WORKFLOW, overlays, {}, look=False)
    try:
        while True:
            began = locks.started(plan.results)
            reports = status.survey(plan, Staleness(plan, hashes), began)
            hashes.save()
            if as_json:
                text = json.dumps(status.summary(reports, began))
            else:
                seen = sys.stdout.isatty()
                width = shutil.get_terminal_size().columns if seen else None
                clear = "\x1b[H\x1b[2J" if seen and watch is not None else ""
                text = f"{clear}{status.page(reports, began, width)}"
            print(text, flush=True)
            if watch is None or all(report.state == "done" for report in reports):
                return
            time.sleep(watch)
    except KeyboardInterrupt:  # as a watch is ended
        if watch is None:
            raise
    except BrokenPipeError:  # into `head`, or a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
