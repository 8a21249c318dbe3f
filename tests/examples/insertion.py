"""The examples of CONTRIBUTING go where a reader is told to put them."""

import re
from pathlib import Path

NETWORK = Path(__file__).parent / "network.py"
_ENTRIES = re.compile(r"^(NETWORKS\b.*? = \{\n)(.*?)^\}", re.MULTILINE | re.DOTALL)


def with_network(names: str) -> str:
    """Return the text of dclib/networks/names.py with the entry of network.py as its last."""
    entry = _ENTRIES.search(NETWORK.read_text())
    assert entry
    changed, count = _ENTRIES.subn(lambda match: f"{match[1]}{match[2]}{entry[2]}}}", names)
    assert count == 1
    return changed
