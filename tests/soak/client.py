"""What each of the soak's processes does: it puts, gets, passes and drops objects, and checks every byte it reads.

    python -m tests.soak.client ADDRESS SEED SECONDS

is a driver of its own, which prints its counts as a line of JSON after each slice.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import asyncray
from asyncray import ObjectRef
from asyncray.errors import ActorError

from .blobs import LARGEST, Blob

HELD: Final = 500_000_000
"""Bytes of objects that a client keeps references to, about."""
VIEWED: Final = 20_000_000
"""Bytes of values that it keeps: what is viewed cannot leave memory."""
PASSED: Final = 3
SLICE: Final = 10
"""Steps after which it tells its counts."""


@asyncray.remote(max_retries=-1, num_cpus=1)
def make(blob: Blob) -> Any:
    return blob.make()


@asyncray.remote(max_retries=-1, num_cpus=1)
def check(blobs: list[Blob], *values: Any) -> int:
    """Bytes that it has found right."""
    for blob, value in zip(blobs, values, strict=True):
        blob.check(value)
    return sum(blob.size for blob in blobs)


@asyncray.remote(max_retries=-1, num_cpus=1)
async def check_nested(items: list[tuple[Blob, ObjectRef]]) -> int:
    """The same of references inside a value: it fetches them itself, one by one."""
    for blob, ref in items:
        blob.check(await ref)
    return sum(blob.size for blob, _ in items)


@asyncray.remote(num_cpus=0, max_concurrency=4)
class Keeper:
    """Borrows what it is given for a while."""

    def __init__(self) -> None:
        self._kept: list[tuple[Blob, ObjectRef]] = []

    async def keep(self, items: list[tuple[Blob, ObjectRef]]) -> int:
        """Lets go of what it had, which it reads before. Bytes that it has found right."""
        before, self._kept = self._kept, items
        total = 0
        for blob, ref in before:
            blob.check(await ref)
            total += blob.size
        return total


@dataclass(slots=True)
class Held:
    blob: Blob
    ref: ObjectRef


class Client:
    """Choices come from the seed alone; how far it gets in a given time does not."""

    def __init__(self, seed: int, places: list[str]) -> None:
        """`places` are resources, one of each node."""
        self._choose = random.Random(seed)
        self._places = places
        self._held: list[Held] = []
        self._views: list[tuple[Blob, Any]] = []
        self._keeper: Any = None
        self.counts: Counter[str] = Counter()
        self._actions = [
            *[self._put] * 3,
            *[self._make] * 3,
            *[self._get] * 4,
            *[self._pass] * 3,
            *[self._pass_nested] * 2,
            *[self._lend] * 1,
            *[self._view] * 1,
            *[self._drop] * 2,
        ]

    async def run(self, steps: int) -> Counter[str]:
        """Raises Corrupted, and whatever must not happen. Returns what it has done since it was asked last."""
        for _ in range(steps):
            while sum(held.blob.size for held in self._held) > HELD:
                await self._drop()
            action = self._choose.choice(self._actions)
            await action()
            self.counts[action.__name__.strip("_")] += 1
            self.counts["steps"] += 1
        told, self.counts = self.counts, Counter()
        return told

    async def leave(self) -> None:
        """Lets go of everything."""
        for blob, value in self._views:
            blob.check(value)
        del self._held[:], self._views[:]
        self._keeper = None
        gc.collect()

    # ------------------------------------------------------------------- actions

    async def _put(self) -> None:
        blob = Blob.draw(self._choose)
        self._held.append(Held(blob, await asyncray.put(blob.make())))
        self.counts["written"] += blob.size

    async def _make(self) -> None:
        blob = Blob.draw(self._choose)
        self._held.append(Held(blob, self._somewhere(make).remote(blob)))
        self.counts["written"] += blob.size

    async def _get(self) -> None:
        for held in self._some(1):
            held.blob.check(await held.ref)
            self.counts["read"] += held.blob.size

    async def _pass(self) -> None:
        chosen = self._some(PASSED)
        blobs, refs = [held.blob for held in chosen], [held.ref for held in chosen]
        self.counts["read"] += await self._somewhere(check).remote(blobs, *refs)

    async def _pass_nested(self) -> None:
        items = [(held.blob, held.ref) for held in self._some(PASSED)]
        self.counts["read"] += await self._somewhere(check_nested).remote(items)

    async def _lend(self) -> None:
        """The keeper may be killed, which nobody else's references must suffer from."""
        if self._keeper is None:
            self._keeper = self._somewhere(Keeper).remote()
        items = [(held.blob, held.ref) for held in self._some(PASSED)]
        try:
            self.counts["read"] += await self._keeper.keep.remote(items)
        except ActorError:
            self._keeper = None
            self.counts["keepers lost"] += 1

    async def _view(self) -> None:
        """Values that are kept while others come and go stay as they are."""
        for blob, value in self._views:
            blob.check(value)
        for held in self._some(1):
            if held.blob.size <= VIEWED:
                self._views.append((held.blob, await held.ref))
        while sum(blob.size for blob, _ in self._views) > VIEWED or len(self._views) > 20:
            del self._views[0]

    async def _drop(self) -> None:
        if self._held:
            del self._held[self._choose.randrange(len(self._held))]

    # ----------------------------------------------------------------------------

    def _somewhere(self, target: Any) -> Any:
        return target.options(resources={self._choose.choice(self._places): 0.001})

    def _some(self, count: int) -> list[Held]:
        """So many of them at most, no larger together than the largest object."""
        chosen: list[Held] = []
        for held in self._choose.sample(self._held, min(count, len(self._held))):
            if sum(other.blob.size for other in chosen) + held.blob.size <= LARGEST:
                chosen.append(held)
        return chosen


ACTOR: Any = asyncray.remote(num_cpus=0)(Client)


async def drive(address: str, seed: int, places: list[str], seconds: float) -> None:
    async with asyncray.init(address=address):
        client = Client(seed, places)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            print(json.dumps(await client.run(SLICE)), flush=True)
        await client.leave()


if __name__ == "__main__":
    from tests.soak import client  # tasks import it by that name

    asyncio.run(client.drive(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), float(sys.argv[4])))
