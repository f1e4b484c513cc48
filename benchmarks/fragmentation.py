"""How much of an arena can be used: the allocator's best fit beside two other policies, under the same random load.

    python benchmarks/fragmentation.py [--seeds 5]

Objects come and go at random, as in a store that is always full: when one does not fit, others are freed at random
until it does. What counts is how full the arena is at the moments when something does not fit although there are bytes
enough, and how much of what is free then lies outside of the largest free extent. All policies cut fresh memory last.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from asyncray.store.allocator import ALIGNMENT, Allocator, block_size

MIB = 1 << 20
CAPACITY = 1024 * MIB
STEPS = 8_000


class FirstFit(Allocator):
    """The extent with the lowest offset that is large enough (Knuth, volume 1, section 2.5, algorithm A)."""

    def _cut_reusable(self, size: int, alignment: int) -> int | None:
        return self._cut_first(sorted(self._sizes.items()), size, alignment)

    def _cut_first(self, extents: list[tuple[int, int]], size: int, alignment: int) -> int | None:
        for start, extent_size in extents:
            offset = start + -start % alignment
            if offset + size <= start + extent_size:
                self._remove(start)
                self._add(start, offset - start)
                self._add(offset + size, start + extent_size - offset - size)
                return offset
        return None


class SegregatedFit(FirstFit):
    """Any extent of the first class whose members are all large enough, as a two-level segregated fit takes it
    (Masmano, Ripoll, Crespo, Real: TLSF, 2004), with 16 classes for each power of two."""

    def _cut_reusable(self, size: int, alignment: int) -> int | None:
        wanted = _class_of(size + alignment - ALIGNMENT, up=True)
        classes: dict[int, tuple[int, int]] = {}
        for start, extent_size in self._sizes.items():
            classes[_class_of(extent_size)] = start, extent_size
        fitting = [number for number in classes if number >= wanted]
        return self._cut_first([classes[min(fitting)]], size, alignment) if fitting else None


def _class_of(size: int, *, up: bool = False) -> int:
    power = size.bit_length() - 1
    step = max(1, (1 << power) // 16)
    inside = (size - (1 << power) + (step - 1 if up else 0)) // step
    return power * 16 + inside


@dataclass
class Figures:
    full: list[float] = field(default_factory=list)
    fragmentation: list[float] = field(default_factory=list)


def uniform(low: int, high: int) -> Callable[[random.Random], int]:
    return lambda numbers: numbers.randint(low, high)


def spread(low: int, high: int) -> Callable[[random.Random], int]:
    """As many between 1 and 2 MiB as between 10 and 20."""
    return lambda numbers: int(math.exp(numbers.uniform(math.log(low), math.log(high))))


LOADS = {
    "100 KiB to 100 MiB": spread(100 << 10, 100 * MIB),
    "100 KiB to 4 MiB": spread(100 << 10, 4 * MIB),
    "1 to 2 MiB": uniform(MIB, 2 * MIB),
}


def run(kind: type[Allocator], sizes: Callable[[random.Random], int], seed: int, figures: Figures) -> None:
    numbers, allocator = random.Random(seed), kind(CAPACITY)
    blocks: list[int] = []
    for step in range(STEPS):
        size = sizes(numbers)
        while (offset := allocator.allocate(size)) is None:
            if step > STEPS // 4 and block_size(size) <= allocator.capacity - allocator.used:
                figures.full.append(allocator.used / allocator.capacity)
                figures.fragmentation.append(allocator.usage().fragmentation)
            chosen = numbers.randrange(len(blocks))
            blocks[chosen], blocks[-1] = blocks[-1], blocks[chosen]
            allocator.free(blocks.pop())
        blocks.append(offset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    print(f"{'sizes':<22}{'policy':<16}{'in use':>10}{'fragmentation':>16}")
    for title, sizes in LOADS.items():
        for kind in (Allocator, FirstFit, SegregatedFit):
            figures = Figures()
            for seed in range(seeds):
                run(kind, sizes, seed, figures)
            name = "best fit" if kind is Allocator else {FirstFit: "first fit", SegregatedFit: "segregated fit"}[kind]
            full, split = statistics.mean(figures.full or [1.0]), statistics.mean(figures.fragmentation or [0.0])
            print(f"{title:<22}{name:<16}{full:>10.1%}{split:>16.1%}")


if __name__ == "__main__":
    main()
