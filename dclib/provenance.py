"""What made a file: digests of settings, the commit and the versions of what ran."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import dclib

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = "dclib/workflow"  # where the files around the package are, once it is installed


def digest(*content: Any) -> str:
    """Return 16 hexadecimal digits that depend on every part of `content` (JSON-like values)."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit(root: Path = ROOT) -> str:
    """Return the commit of git that `root` is at, and `-dirty` if it was changed; or nothing."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    around = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}  # none above it
    try:
        done = subprocess.run(command, cwd=root, env=around, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of dclib, Python and, where it is in use, PyTorch."""
    told = {"dclib": dclib.__version__, "python": platform.python_version()}
    if "torch" in sys.modules:
        told["torch"] = str(sys.modules["torch"].__version__)
    return told
