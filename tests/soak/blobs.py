"""Values whose every byte follows from their size and a number: what is read is compared with what must be there."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

LARGEST: Final = 200_000_000
"""Bytes."""
_CHUNK: Final = 1 << 20
"""Words made and compared at a time: the check of a value of 200 MB needs no 200 MB."""
_STEP: Final = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Blob:
    """What a value is made from."""

    size: int
    """Bytes."""
    number: int

    @classmethod
    def draw(cls, choose: random.Random, largest: int = LARGEST) -> Blob:
        """Small ones as often as large ones: the logarithm of the size is uniform."""
        size = round(math.exp(choose.uniform(0, math.log(largest))))
        return cls(max(1, min(size, largest)), choose.getrandbits(62))

    def make(self) -> Any:
        """An array, bytes, or a dictionary that holds two arrays, as the number says."""
        data = np.empty(self.size, np.uint8)
        for start in range(0, self.size, 8 * _CHUNK):
            end = min(start + 8 * _CHUNK, self.size)
            data[start:end] = self._expected(start, end)
        match self.number % 3:
            case 0:
                return data
            case 1:
                return data.tobytes()
            case _:
                return {"first": data[: self.size // 2], "rest": [data[self.size // 2 :]]}

    def check(self, value: Any) -> None:
        """Raises Corrupted when a byte is another one."""
        position = 0
        for part in _parts(value):
            for start in range(0, len(part), 8 * _CHUNK):
                piece = part[start : start + 8 * _CHUNK]
                if not np.array_equal(piece, self._expected(position, position + len(piece))):
                    raise Corrupted(f"{self} differs in the {len(piece)} bytes from {position} on")
                position += len(piece)
        if position != self.size:
            raise Corrupted(f"{self} has {position} bytes")

    def _expected(self, start: int, end: int) -> Any:
        first = start // 8
        words = np.arange(first, (end + 7) // 8, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(self.number)
        return (words ^ (words >> np.uint64(29))).view(np.uint8)[start - 8 * first : end - 8 * first]


class Corrupted(AssertionError):
    """A value is not what was stored."""


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value["first"], *value["rest"]]
    return [np.frombuffer(value, np.uint8)]
