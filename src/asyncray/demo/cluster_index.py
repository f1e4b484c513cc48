"""The index made on a cluster: nested tasks go through the packages, actors put together what the tasks find."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple

import asyncray
from asyncray.demo.source_index import Index, Module, Skipped, index_file
from asyncray.demo.source_tree import Package, SourceFile, batches

SHARDS = 2


class Shard:
    """A part of the index. Any part takes any module: they are merged in the end."""

    def __init__(self) -> None:
        self._index = Index()

    def add(self, outcomes: list[Module | Skipped]) -> int:
        """Returns the number of files."""
        self._index.add(outcomes)
        return len(outcomes)

    def index(self) -> Index:
        return self._index


ShardActor = asyncray.remote(Shard)
"""`@asyncray.remote` above the class would do the same, but type checkers do not see what it makes of a class."""


class Begun(NamedTuple):
    """What the task of a package has set going."""

    batches: list[asyncray.ObjectRef]
    """Numbers of files, once they are in the index."""
    subpackages: list[asyncray.ObjectRef]
    """Each a `Begun`."""


@asyncray.remote
def index_batch(files: list[SourceFile]) -> list[Module | Skipped]:
    return [index_file(file) for file in files]


@asyncray.remote
def index_package(package: Package, shards: list[asyncray.ActorHandle]) -> Begun:
    """Starts tasks for the files of a package and for the packages below it. Waits for none of them: it returns
    their references, so that no worker is kept by a task that has nothing to do."""
    subpackages = [index_package.remote(subpackage, shards) for subpackage in package.subpackages]
    # An ObjectRef as an argument stands for its value, which goes from the task's worker to the actor's.
    added = [random.choice(shards).add.remote(index_batch.remote(batch)) for batch in batches(package.files)]
    return Begun(added, subpackages)


async def build_index(package: Package, advance: Callable[[int], None]) -> Index:
    """The index of all files of a tree. Calls `advance` with the number of files, whenever some are done."""

    async def follow(begun: asyncray.ObjectRef) -> None:
        parts: Begun = await begun
        async with asyncio.TaskGroup() as group:
            for subpackage in parts.subpackages:
                group.create_task(follow(subpackage))
            for batch in parts.batches:
                group.create_task(count(batch))

    async def count(batch: asyncray.ObjectRef) -> None:
        advance(await batch)

    shards = [ShardActor.remote() for _ in range(SHARDS)]
    await follow(index_package.remote(package, shards))
    index = Index()
    for part in await asyncio.gather(*(shard.index.remote() for shard in shards)):
        index.merge(part)
    return index
