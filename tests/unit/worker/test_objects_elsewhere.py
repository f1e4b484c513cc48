"""Stored objects of other nodes: reading them, copies, nodes that die, freeing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from asyncray import messages
from asyncray.errors import ObjectFreedError, ObjectLostError, OwnerDiedError
from asyncray.messages import FOR_ARGUMENTS, FOR_GET, FOR_WAIT
from asyncray.worker.location import Location
from asyncray.worker.reference import Reference

from .object_world import Node, Process, World, settle


class Cluster:
    """Five nodes; an owner on the first, and a reader on each of the others."""

    def __init__(self) -> None:
        self.world = World()
        self.nodes = [self.world.node(name) for name in "abcde"]
        self.owner = self.world.process("O", self.nodes[0])
        self.readers = [self.world.process(name, node) for name, node in zip("RSTU", self.nodes[1:], strict=True)]

    async def elsewhere(self) -> tuple[Reference, Node]:
        """An object of the owner whose primary copy is on the second node."""
        reference = self.owner.runtime.ownership.own(bytes([7]) * 20)
        node = self.nodes[1]
        node.held.add(self.owner.key(reference))
        location = Location(*node.place, 8, self.owner.id, origin="returned by make()")
        self.owner.objects.resolve_stored(reference, location)
        return reference, node


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


def names(location: Location) -> list[str]:
    return [address[0] for _, address in location.sources()]


async def test_a_reader_fetches_from_another_node_and_the_owner_learns_of_two_copies(cluster: Cluster) -> None:
    reference = cluster.owner.put()
    for reader in cluster.readers[:3]:
        await reader.read(reader.borrow(reference, cluster.owner))
        await settle(cluster.world)
    location = cluster.owner.location(reference)
    assert names(location)[:3] == ["a", "b", "c"]
    last = cluster.readers[3].borrow(reference, cluster.owner)
    await cluster.readers[3].read(last)
    assert names(cluster.readers[3].location(last))[:3] == ["a", "b", "c"], "VALUE carries them on"


async def test_a_backup_takes_over_when_the_node_of_the_primary_dies(cluster: Cluster) -> None:
    reference, dead = await cluster.elsewhere()
    for reader in cluster.readers[1:3]:
        await reader.read(reader.borrow(reference, cluster.owner))
    await settle(cluster.world)
    cluster.world.kill_node(dead)
    await settle(cluster.world)
    assert names(cluster.owner.location(reference)) == ["c", "d"]
    assert cluster.owner.key(reference) in cluster.nodes[2].primary
    await cluster.owner.read(reference)
    cluster.owner.drop(reference)
    await settle(cluster.world)
    assert cluster.nodes[2].freed and cluster.nodes[3].freed, "d copied from the node that died: the owner tells it"
    assert not cluster.owner.whereabouts._at and not cluster.owner.whereabouts._searches


async def test_a_backup_that_has_gone_is_passed_over(cluster: Cluster) -> None:
    reference, dead = await cluster.elsewhere()
    for reader in cluster.readers[1:3]:
        await reader.read(reader.borrow(reference, cluster.owner))
    await settle(cluster.world)
    cluster.nodes[2].held.clear()
    cluster.world.kill_node(dead)
    await settle(cluster.world)
    assert names(cluster.owner.location(reference)) == ["d"]


async def test_the_last_copy_dies_with_its_node(cluster: Cluster) -> None:
    reference, dead = await cluster.elsewhere()
    borrowed = cluster.readers[3].borrow(reference, cluster.owner)
    cluster.world.kill_node(dead)
    with pytest.raises(ObjectLostError) as caught:
        await cluster.owner.read(reference)
    text = str(caught.value)
    assert reference.id.hex() in text and dead.id.hex()[:8] in text and "returned by make()" in text, text
    with pytest.raises(ObjectLostError, match=r"returned by make\(\)"):
        await cluster.readers[3].read(borrowed)
    cluster.owner.drop(reference)
    assert not cluster.owner.whereabouts._at


async def test_a_reader_that_hears_of_a_death_before_the_owner_is_served(cluster: Cluster) -> None:
    """The owner asks the primary's node, which it cannot reach, then the others."""
    reference, dead = await cluster.elsewhere()
    await cluster.readers[1].read(cluster.readers[1].borrow(reference, cluster.owner))
    late = cluster.readers[3].borrow(reference, cluster.owner)
    cluster.readers[3].objects.resolve(late, messages.STORED, Location(*dead.place, 8, cluster.owner.id))
    await settle(cluster.world)
    cluster.world.kill_node(dead, told=False)
    await cluster.readers[3].read(late)
    assert names(cluster.owner.location(reference))[0] == "c"
    assert names(cluster.readers[3].location(late))[0] == "c"
    cluster.owner.whereabouts.node_died(dead.id)
    await settle(cluster.world)
    assert names(cluster.owner.location(reference))[0] == "c"


async def test_a_node_that_only_the_reader_cannot_reach_makes_it_give_up_in_the_end(cluster: Cluster) -> None:
    reference, _ = await cluster.elsewhere()
    cluster.nodes[4].unreachable.add("b")
    reader = cluster.readers[3]
    borrowed = reader.borrow(reference, cluster.owner)
    with pytest.raises(ObjectLostError, match="see to the network between that node and this one"):
        await reader.read(borrowed)
    asked = [message for message in reader.sent if message[0] == messages.UNREADABLE]
    assert len(asked) == reader.runtime.config.read_attempts
    await cluster.owner.read(reference)


async def test_a_node_that_can_be_reached_again_is_read_from(cluster: Cluster) -> None:
    reference, node = await cluster.elsewhere()
    node.unreachable |= {"a", "e"}
    reader = cluster.readers[3]
    borrowed = reader.borrow(reference, cluster.owner)
    reading = asyncio.ensure_future(reader.read(borrowed))
    while not any(message[0] == messages.UNREADABLE for message in reader.sent):
        await asyncio.sleep(0)
    node.unreachable.clear()
    await reading


async def test_the_death_of_the_owner_ends_a_read(cluster: Cluster) -> None:
    reference, node = await cluster.elsewhere()
    reader = cluster.readers[3]
    borrowed = reader.borrow(reference, cluster.owner)
    location = Location(*node.place, 8, cluster.owner.id)
    reader.objects.resolve(borrowed, messages.STORED, location)
    node.held.clear()
    fetch = reader.runtime.spawn(reader.reader.pin(borrowed.id, location, borrowed.owner), name="an argument")
    reading = asyncio.ensure_future(reader.read(borrowed))
    while not reader.reader._asked:
        await asyncio.sleep(0)
    cluster.world.kill(cluster.owner)
    reader.objects.owner_died(borrowed)
    with pytest.raises(OwnerDiedError, match="has ended"):
        await reading
    with pytest.raises(OwnerDiedError, match="has ended"):
        await fetch
    await settle(cluster.world)
    assert not reader.reader._asked and not reader.tasks


async def test_copies_are_freed_though_the_node_of_the_primary_died_unnoticed(cluster: Cluster) -> None:
    reference, dead = await cluster.elsewhere()
    for reader in cluster.readers[1:3]:
        await reader.read(reader.borrow(reference, cluster.owner))
    await settle(cluster.world)
    cluster.world.kill_node(dead, told=False)
    cluster.owner.drop(reference)
    await settle(cluster.world)
    assert not cluster.nodes[2].held and not cluster.nodes[3].held


async def test_what_is_freed_while_it_is_looked_for_is_freed_where_it_is_found(cluster: Cluster) -> None:
    reference, dead = await cluster.elsewhere()
    await cluster.readers[1].read(cluster.readers[1].borrow(reference, cluster.owner))
    await settle(cluster.world)
    cluster.world.kill_node(dead)
    cluster.owner.drop(reference)
    await settle(cluster.world)
    assert not cluster.nodes[2].held and not cluster.owner.whereabouts._searches and not cluster.owner.whereabouts._at


async def test_a_copy_of_what_is_freed_already_is_freed_too(cluster: Cluster) -> None:
    reference = cluster.owner.put()
    reader = cluster.readers[0]
    location = Location(*cluster.nodes[0].place, 8, cluster.owner.id)
    reading = asyncio.ensure_future(reader.reader.pin(reference.id, location, cluster.owner.address))
    while not any(message[0] == messages.COPY for message in reader.sent):
        await asyncio.sleep(0)
    cluster.owner.drop(reference)
    reader.store.unhold(await reading)
    await settle(cluster.world)
    assert cluster.nodes[1].freed == [cluster.owner.key(reference)]


async def test_a_copy_that_is_reported_after_the_loss_of_all_others_becomes_the_primary(cluster: Cluster) -> None:
    reference, node = await cluster.elsewhere()
    node.unreachable.add("a")  # it may have the object, so that is not lost
    cluster.owner.whereabouts.look(reference, node.id, lambda reference: None)
    await settle(cluster.world)
    cluster.world.kill_node(node, told=False)
    cluster.nodes[2].held.add(cluster.owner.key(reference))
    cluster.owner.whereabouts.has_copy(reference.id, cluster.nodes[2].place)
    cluster.owner.whereabouts.node_died(node.id)
    await settle(cluster.world)
    assert names(cluster.owner.location(reference)) == ["c"]


# ---- fetches: their priorities, and their ends


def waiting(node: Node) -> list[int]:
    return [priority for *_, priority in node.waiting.values()]


async def slow_read(cluster: Cluster) -> tuple[Process, Reference]:
    """A reader that knows where an object is, on a node that does not answer yet."""
    reference = cluster.owner.put()
    reader = cluster.readers[0]
    borrowed = reader.borrow(reference, cluster.owner)
    location = cluster.owner.location(reference)
    reader.objects.resolve(borrowed, messages.STORED, Location(*location.pack()))
    reader.node.slow = True
    return reader, borrowed


async def test_a_get_that_is_cancelled_takes_its_fetch_back(cluster: Cluster) -> None:
    reader, borrowed = await slow_read(cluster)
    first, second = (asyncio.ensure_future(reader.objects.all_local([borrowed])) for _ in range(2))
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_GET]
    first.cancel()
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_GET]
    second.cancel()
    await settle(cluster.world)
    assert not reader.node.waiting and not reader.tasks and not reader.store._requests
    third = asyncio.ensure_future(reader.objects.all_local([borrowed]))
    await settle(cluster.world)
    reader.node.release()
    await third
    assert reader.node.pins[reader.key(borrowed)] == 1


async def test_a_wait_fetches_last_and_goes_on_when_it_is_over(cluster: Cluster) -> None:
    reader, borrowed = await slow_read(cluster)
    wait = asyncio.ensure_future(reader.objects.arrival([borrowed], 1, FOR_WAIT))
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_WAIT]
    wait.cancel()
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_WAIT]
    get = asyncio.ensure_future(reader.objects.all_local([borrowed]))
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_GET]
    get.cancel()
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_GET], "the wait is still served"
    reader.node.release()
    await settle(cluster.world)
    assert reader.objects.is_here(borrowed)


async def test_an_argument_hurries_the_fetch_of_a_get(cluster: Cluster) -> None:
    reader, borrowed = await slow_read(cluster)
    get = asyncio.ensure_future(reader.objects.all_local([borrowed]))
    await settle(cluster.world)
    location = Location(*reader.location(borrowed).pack())
    location.priority = FOR_ARGUMENTS
    argument = asyncio.ensure_future(reader.reader.pin(borrowed.id, location, borrowed.owner))
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_ARGUMENTS]
    reader.node.release()
    await get
    pin = await argument
    assert pin.holders == 2


async def test_a_wait_that_fetches_nothing_only_learns_that_the_value_exists(cluster: Cluster) -> None:
    reader, borrowed = await slow_read(cluster)
    await reader.objects.arrival([borrowed], 1, None)
    await settle(cluster.world)
    assert not reader.node.waiting and not reader.objects.is_here(borrowed)


async def test_a_reference_that_is_dropped_takes_its_fetch_back(cluster: Cluster) -> None:
    reader, borrowed = await slow_read(cluster)
    assert not reader.objects.poll(borrowed)
    await settle(cluster.world)
    assert waiting(reader.node) == [FOR_WAIT]
    reader.drop(borrowed)
    await settle(cluster.world)
    assert not reader.node.waiting and not reader.tasks


# ---- freeing


async def freed_by_owner(cluster: Cluster, reference: Reference, borrowed: Reference) -> None:
    cluster.owner.freeing.free([reference])


async def freed_by_borrower(cluster: Cluster, reference: Reference, borrowed: Reference) -> None:
    cluster.readers[0].freeing.free([borrowed])


@pytest.mark.parametrize("free", [freed_by_owner, freed_by_borrower])
async def test_what_is_freed_is_gone_for_all(
    cluster: Cluster, free: Callable[[Cluster, Reference, Reference], asyncio.Future[None]]
) -> None:
    reference = cluster.owner.put()
    readers = cluster.readers[:2]
    borrowed = [reader.borrow(reference, cluster.owner) for reader in readers]
    await readers[1].read(borrowed[1])
    reads_on = asyncio.ensure_future(readers[0].objects.all_local([borrowed[0]]))
    await free(cluster, reference, borrowed[0])
    await settle(cluster.world)
    await reads_on
    assert cluster.nodes[0].freed == [cluster.owner.key(reference)]
    for process, of_it in zip([cluster.owner, *readers], [reference, *borrowed], strict=True):
        with pytest.raises(ObjectFreedError, match="was freed"):
            await process.read(of_it)
        process.store.sweep()
    await settle(cluster.world)
    assert all(not any(node.pins.values()) for node in cluster.nodes)
    late = cluster.readers[2].borrow(reference, cluster.owner)
    with pytest.raises(ObjectFreedError, match="was freed"):
        await cluster.readers[2].read(late)


async def test_small_values_and_those_that_do_not_exist_yet_are_freed_too(cluster: Cluster) -> None:
    small, pending = (cluster.owner.runtime.ownership.own(bytes([number]) * 20) for number in (1, 2))
    cluster.owner.objects.resolve(small, messages.INLINE, b"value")
    waits = asyncio.ensure_future(cluster.owner.objects.all_local([pending]))
    await settle(cluster.world)
    cluster.owner.freeing.free([small, pending])
    await waits
    for reference in (small, pending):
        with pytest.raises(ObjectFreedError):
            cluster.owner.objects.load(reference)


async def test_a_reader_of_what_is_freed_meanwhile_is_told_so(cluster: Cluster) -> None:
    reader, borrowed = await slow_read(cluster)
    reading = asyncio.ensure_future(reader.read(borrowed))
    argument = reader.runtime.spawn(
        reader.reader.pin(borrowed.id, Location(*reader.location(borrowed).pack()), borrowed.owner), name="argument"
    )
    await settle(cluster.world)
    owned = cluster.owner.runtime.ownership.owned(borrowed.id)
    cluster.owner.freeing.free([owned])
    await settle(cluster.world)
    reader.node.release()
    with pytest.raises(ObjectFreedError):
        await reading
    with pytest.raises(ObjectFreedError):
        await argument
