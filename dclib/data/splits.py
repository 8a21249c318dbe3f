"""Which images of a class are held out, by their names."""

import hashlib
import os
from collections.abc import Sequence


def held_out(names: Sequence[str], number: int, *key: object) -> frozenset[int]:
    """Return the places of `number` of the names, chosen by a hash of each and of `key`.

    So the choice is the same on every machine, whatever the order, and stays what it is for most
    of them where others come or go.
    """
    told = os.fsencode("/".join(map(str, key)))

    def drawn(place: int) -> bytes:
        return hashlib.sha256(told + b"\0" + os.fsencode(names[place])).digest()

    return frozenset(sorted(range(len(names)), key=drawn)[:number])
