"""Random numbers that user code and libraries draw by themselves: of the seed, while a simulation runs."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


class Entropy:
    """Random bytes that depend on a seed only, at 100 bytes for each source: a `random.Random` takes 2,600."""

    __slots__ = ("_drawn", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._drawn = 0

    def __call__(self, size: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_128(f"{self._seed}/{self._drawn}".encode()).digest(size)


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
