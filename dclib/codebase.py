"""Digests of code: what a result was made by, as far as it can touch the result."""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dclib import files, provenance
from dclib.provenance import ROOT

# What surrounds the work of every job, and computes nothing.
_AROUND = "dclib/pipeline/job.py"


@functools.cache
def digest(*sources: Path | str, root: Path = ROOT) -> str:
    """Return a digest of Python files and of all modules of dclib that they import, transitively.

    It is taken from the syntax trees without docstrings, so that comments, docstrings and layout
    do not count, nor do the version number and what surrounds every job.

    Args:
        sources: the files to begin with, or the dotted names of modules of dclib.
        root: the folder that holds the package `dclib`.
    """
    found = _reached(sources, root)
    return provenance.digest(sorted((name, _parsed(path)[0]) for name, path in found.items()))


@functools.cache
def files_of(*sources: Path | str, root: Path = ROOT) -> dict[str, str]:
    """Return the paths of the files that `digest` goes by, and the SHA-256 of their bytes."""
    return {str(path): files.sha256(path) for path in _reached(sources, root).values()}


def unchanged(code: Mapping[str, str]) -> bool:
    """Return whether all bytes of `files_of` are as they were, which is told in no time."""
    return all(Path(path).is_file() and files.sha256(path) == was for path, was in code.items())


@functools.cache
def _reached(sources: tuple[Path | str, ...], root: Path) -> dict[str, Path]:
    """The files that `digest` goes by, by the names that they have in it."""
    found: dict[str, Path] = {}
    waiting = [
        _files(source, root)[-1] if isinstance(source, str) else source.resolve()
        for source in sources
    ]
    while waiting:
        path = waiting.pop()
        name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
        name = name.removeprefix(f"{provenance.WORKFLOW}/")
        if name not in found and name != _AROUND:
            found[name] = path
            waiting += [source for module in _parsed(path)[1] for source in _files(module, root)]
    return found


@functools.cache
def _parsed(path: Path) -> tuple[str, list[str]]:
    """What a Python file says, and what it imports from dclib; most are asked for several times."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node
        for node in _without_docstring(tree.body)
        if not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__")
    ]
    return _written(tree), _imports(tree)


def _written(node: Any) -> str:
    """Write a syntax tree down alike under every version of Python: without empty fields.

    Docstrings are left out. Every plan of a grid does this to all modules, so it is one walk.
    """
    if isinstance(node, ast.AST):
        named = []
        for name in node._fields:
            value: Any = getattr(node, name, None)
            if name == "body" and isinstance(node, _WITH_DOCSTRING):
                value = _without_docstring(value)
            text = _written(value)
            if text not in ("None", "[]"):
                named.append(f"{name}={text}")
        return f"{type(node).__name__}({', '.join(named)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    return repr(node)


_WITH_DOCSTRING = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body


def _imports(tree: ast.Module) -> list[str]:
    """The dotted names that a module imports, as far as they may be modules of dclib."""
    names = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "dclib"]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements in a syntax tree, and what they consist of that has statements."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, name, ()):
            yield child
            yield from _statements(child)


@functools.cache
def _files(module: str, root: Path) -> list[Path]:
    """The files that importing a module of dclib runs: its packages' and its own."""
    parts = module.split(".")
    paths = []
    for end in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:end])
        paths += [p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()]
    return paths
