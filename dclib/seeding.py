"""Independent random streams by name, derived by a hash and never from a clock or global state."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def derive_seed(*key: object) -> int:
    """Return a 63-bit seed that depends on every part of `key` (strings, numbers) alone."""
    text = json.dumps([str(part) for part in key])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextlib.contextmanager
def global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators, from which modules are initialised; then restore them."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class Streams:
    """The random streams of one cell.

    Each name has a generator of its own, on the CPU so that every device draws the same numbers.
    Drawing from one stream never moves another. `state_dict` holds the state of every stream that
    was used, so that an interrupted computation goes on with the numbers it would have drawn.

    Args:
        key: what identifies the cell: (dataset, method, network, ipc, seed).
    """

    def __init__(self, *key: object) -> None:
        self.key = key
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        """Return the generator of stream `name`."""
        if name not in self._generators:
            self._generators[name] = torch.Generator().manual_seed(derive_seed(*self.key, name))
        return self._generators[name]

    def seed(self, name: str) -> int:
        """Draw the next 63-bit seed from stream `name`."""
        return int(torch.randint(2**63 - 1, (), generator=self[name]))

    def next_seed(self, name: str) -> int:
        """Return what `seed` will draw next, and leave the stream where it is."""
        generator = self[name]
        return int(torch.randint(2**63 - 1, (), generator=generator.clone_state()))

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state of every stream in use, as uint8 tensors by name."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, states: Mapping[str, Tensor]) -> None:
        """Put every stream named in `states` back where it was."""
        for name, state in states.items():
            self[name].set_state(state)
