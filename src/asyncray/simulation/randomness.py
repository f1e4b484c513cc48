"""Random numbers and clocks that user code and libraries use by themselves: of the seed, while a simulation runs."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from asyncray.simulation.process import current_process

_EPOCH: Final = 1_700_000_000.0
"""What `time.time()` says at the start of a simulation."""


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
    """Meanwhile `random`, `os.urandom` and what is made of it (`uuid.uuid4`, `secrets`) depend on `numbers` only."""
    state = random.getstate()
    random.seed(numbers.getrandbits(64))
    try:
        with patch.object(os, "urandom", numbers.randbytes), patch.object(random, "_urandom", numbers.randbytes):
            yield
    finally:
        random.setstate(state)


@contextmanager
def virtual_clocks(now: Callable[[], float]) -> Iterator[None]:
    """Meanwhile `time.time()`, `time.monotonic()` and `time.perf_counter()` tell simulated processes virtual time."""

    def virtual(real: Callable[[], float], start: float) -> Callable[[], float]:
        return lambda: real() if current_process.get() is None else start + now()

    with (
        patch.object(time, "time", virtual(time.time, _EPOCH)),
        patch.object(time, "monotonic", virtual(time.monotonic, 0.0)),
        patch.object(time, "perf_counter", virtual(time.perf_counter, 0.0)),
    ):
        yield
