"""Random numbers that user code and libraries draw by themselves: of the seed, while a simulation runs."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(numbers: random.Random) -> Iterator[None]:
    """Meanwhile `random`, `os.urandom` and what is made of it (`uuid.uuid4`) depend on `numbers` only."""
    state, urandom = random.getstate(), os.urandom
    random.seed(numbers.getrandbits(64))
    os.urandom = numbers.randbytes
    try:
        yield
    finally:
        os.urandom = urandom
        random.setstate(state)
