"""Ids that nobody has had before: uids of objects, ids of requests.

They are made by Python's generator, of 128 bits that were seeded by the kernel. Asking the kernel for each lets go of
the interpreter's lock, which a busy process may get back only 5 ms later. A forked process seeds its own anew.
"""

from __future__ import annotations

import os
import random
import uuid

_dice = random.Random()
os.register_at_fork(after_in_child=_dice.seed)


def random_uid() -> str:
    """Return a new UUID (version 4)."""
    return str(uuid.UUID(int=_dice.getrandbits(128), version=4))


def random_id() -> str:
    """Return 32 hexadecimal digits."""
    return f"{_dice.getrandbits(128):032x}"
