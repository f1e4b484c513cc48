"""How long objects live: as long as anybody can ask for them, wherever the references are."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import asyncray
from asyncray import ActorHandle, ObjectRef
from asyncray.errors import ObjectLostError, OwnerDiedError

from .conftest import node_status
from .gates import closed_gate, waiting_at
from .polling import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("shared_cluster")]

LARGE = 1_000_000


@asyncray.remote
class Keeper:
    """Keeps references for as long as it is told to."""

    def __init__(self, *refs: list[ObjectRef]) -> None:
        self.refs = [ref for given in refs for ref in given]

    def keep(self, refs: list[ObjectRef]) -> int:
        self.refs += refs
        return len(self.refs)

    async def values(self) -> list[Any]:
        return list(await asyncio.gather(*self.refs))

    def give(self) -> list[ObjectRef]:
        return self.refs

    def drop(self) -> None:
        self.refs = []


@asyncray.remote
def identity(value: Any) -> Any:
    return value


@asyncray.remote
def make(size: int) -> bytes:
    return bytes(size)


async def stored(count: int) -> None:
    """Returns when so many objects are in the store."""

    async def are_there() -> bool:
        return (await node_status()).store_objects == count

    await eventually(are_there)


@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
async def test_what_an_actor_keeps_stays_when_the_driver_drops_its_own(size: int) -> None:
    keeper = Keeper.remote()
    refs = [make.remote(size), await asyncray.put(bytes(size))]
    assert await keeper.keep.remote(refs) == 2
    del refs
    assert await identity.remote(1) == 1
    assert await keeper.values.remote() == [bytes(size)] * 2
    await stored(2 if size == LARGE else 0)
    await keeper.drop.remote()
    await stored(0)


async def test_what_a_constructor_keeps_of_its_arguments_stays() -> None:
    for _ in range(5):
        keeper = Keeper.remote([await asyncray.put(bytes(LARGE)), await asyncray.put("small")])
        assert await keeper.values.remote() == [bytes(LARGE), "small"]
    del keeper
    await stored(0)


async def test_a_reference_returned_by_an_actor_is_as_good_as_the_first() -> None:
    keeper = Keeper.remote()
    await keeper.keep.remote([await asyncray.put(bytes(LARGE))])
    (ref,) = await keeper.give.remote()
    await keeper.drop.remote()
    assert len(await ref) == LARGE
    assert await identity.remote(ref) == bytes(LARGE)
    del ref
    await stored(0)


async def test_objects_inside_of_objects_live_as_long_as_the_outer_one() -> None:
    inner = await asyncray.put(bytes(LARGE))
    middle = await asyncray.put({"inner": inner})
    outer = await asyncray.put([middle])
    del inner, middle
    await stored(1)
    (middle,) = await outer
    assert len(await (await middle)["inner"]) == LARGE
    del middle, outer
    await stored(0)


async def test_references_in_results_are_kept_until_the_caller_has_them() -> None:
    @asyncray.remote
    def produce(count: int) -> list[ObjectRef]:
        import asyncray.sync as ray

        return [ray.put(bytes(LARGE) if number % 2 else number) for number in range(count)]

    @asyncray.remote
    async def relay(count: int) -> list[ObjectRef]:
        return await produce.remote(count)

    for task in (produce, relay):
        refs = await task.remote(6)
        values = await asyncray.get(refs)
        assert [value if isinstance(value, int) else len(value) for value in values] == [0, LARGE, 2, LARGE, 4, LARGE]
        del refs, values
        await stored(0)


async def test_references_in_a_result_that_nobody_reads_are_dropped() -> None:
    @asyncray.remote
    def produce() -> list[ObjectRef]:
        import asyncray.sync as ray

        return [ray.put(bytes(LARGE))]

    produce.remote()
    ref = produce.remote()
    await asyncio.wait([ref])
    del ref
    await stored(0)


async def test_a_borrowed_reference_travels_on() -> None:
    """A borrower passes its reference on, and the owner learns of the new borrower before the old one lets go."""
    keepers = [Keeper.remote() for _ in range(3)]

    @asyncray.remote
    async def pass_on(refs: list[ObjectRef], keepers: list[ActorHandle]) -> None:
        await keepers[0].keep.remote(refs)
        if keepers[1:]:
            await pass_on.remote(refs, keepers[1:])

    await pass_on.remote([await asyncray.put(bytes(LARGE))], keepers)
    await stored(1)
    for keeper in keepers:
        assert await keeper.values.remote() == [bytes(LARGE)]
        await keeper.drop.remote()
    await stored(0)


async def test_a_pending_reference_can_be_passed_on_before_it_has_a_value() -> None:
    async with closed_gate() as gate:
        keeper = Keeper.remote()
        ref = gate.passed.remote(bytes(LARGE))
        await keeper.keep.remote([ref])
        del ref
        values = keeper.values.remote()
        await waiting_at(gate, 1)
        await gate.open.remote()
        assert await values == [bytes(LARGE)]


async def test_borrowers_learn_that_the_owner_has_died() -> None:
    @asyncray.remote
    class Owner:
        async def make(self, gate: ActorHandle) -> tuple[int, list[ObjectRef]]:
            return os.getpid(), [await asyncray.put("small"), gate.passed.remote("pending"), make.remote(LARGE)]

    async with closed_gate() as gate:
        owner, keeper = Owner.remote(), Keeper.remote()
        pid, refs = await owner.make.remote(gate)
        await keeper.keep.remote(refs)
        values = keeper.values.remote()
        pending = asyncio.ensure_future(refs[1])
        callback = asyncio.get_running_loop().create_future()
        refs[1].add_done_callback(lambda _: callback.set_result(None))
        await waiting_at(gate, 1)
        os.kill(pid, 9)
        for ref in (values, pending, refs[2]):
            with pytest.raises(OwnerDiedError, match=r"the process that owned object .* has ended"):
                await ref
        await callback
        assert isinstance(refs[1].exception(), ObjectLostError)
        with pytest.raises(OwnerDiedError):
            await identity.remote(refs[1])
        del refs, ref
    await stored(0)


async def test_values_read_before_the_owner_died_stay_valid() -> None:
    @asyncray.remote
    class Owner:
        async def make(self) -> tuple[int, ObjectRef]:
            return os.getpid(), await asyncray.put(np.ones(LARGE))

    owner = Owner.remote()
    pid, ref = await owner.make.remote()
    array: npt.NDArray[np.float64] = await ref
    os.kill(pid, 9)
    with pytest.raises(asyncray.errors.ActorDiedError):
        await owner.make.remote()
    others = [await asyncray.put(np.zeros(LARGE)) for _ in range(3)]
    assert array.sum() == LARGE
    assert (await ref).sum() == LARGE
    del array, ref, others
    await stored(0)


async def test_a_worker_that_dies_gives_back_what_it_had_pinned_and_borrowed() -> None:
    keeper = Keeper.remote()
    ref = await asyncray.put(bytes(LARGE))
    await keeper.keep.remote([ref])
    assert await keeper.values.remote() == [bytes(LARGE)]
    del ref
    await stored(1)
    await asyncray.kill(keeper)
    await stored(0)


async def test_dropping_many_references_at_once_frees_them_all() -> None:
    refs = [await asyncray.put(bytes(200_000)) for _ in range(100)]
    more = [identity.remote(number) for number in range(1000)]
    await asyncio.gather(*more)
    await stored(100)
    del refs, more
    await stored(0)


@asyncray.remote
class Careless:
    """Lives in a worker that collects no garbage, and fails with references at hand."""

    def __init__(self) -> None:
        gc.disable()

    def fail(self, refs: list[ObjectRef]) -> None:
        raise KeyError(len(refs))

    def fail_to_get(self, refs: list[ObjectRef], failed: list[ObjectRef]) -> None:
        asyncray.sync.get(failed)

    async def fail_later(self, refs: list[ObjectRef], failed: list[ObjectRef]) -> None:
        await asyncray.get(failed)


@asyncray.remote
def collect_no_garbage() -> None:
    gc.disable()


@asyncray.remote
def fail(*args: Any) -> None:
    raise KeyError(len(args))


@asyncray.remote
async def fail_later(*args: Any) -> None:
    await asyncio.sleep(0)
    raise KeyError(len(args))


@asyncray.remote
async def fail_to_await(refs: list[ObjectRef], failed: list[ObjectRef]) -> None:
    await failed[0]


def failing(refs: list[ObjectRef], careless: ActorHandle, failed: ObjectRef) -> Iterator[ObjectRef]:
    """Calls that fail while they have the references."""
    yield fail.remote(refs)
    yield fail.remote(refs[0])
    yield fail_later.remote(refs)
    yield fail_to_await.remote(refs, [failed])
    yield careless.fail.remote(refs)
    yield careless.fail_to_get.remote(refs, [failed])
    yield careless.fail_later.remote(refs, [failed])


async def test_what_has_failed_keeps_no_references_in_a_cycle() -> None:
    await asyncio.gather(*(collect_no_garbage.remote() for _ in range(20)))
    failed, careless = fail.remote(), Careless.remote()
    refs = [await asyncray.put(bytes(LARGE))]
    for call in failing(refs, careless, failed):
        with pytest.raises(KeyError):
            await call
    del refs, call
    await stored(0)


async def test_a_constructor_that_fails_keeps_no_references() -> None:
    refs = [await asyncray.put(bytes(LARGE))]
    keeper = Keeper.remote(refs, 1)
    with pytest.raises(asyncray.errors.ActorDiedError):
        await keeper.give.remote()
    del refs
    await stored(0)
