"""The node's store: what processes and the node's other managers ask of it, with a simulated disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from asyncray import messages
from asyncray.config import DEFAULT
from asyncray.errors import ObjectLostError, ProtocolError

from .puppet_node import JOB, Puppet
from .store_node import HERE, MIB, THERE, Node, key


@pytest.fixture
async def node() -> Any:
    node = await Node().start()
    yield node
    await node.stop()


def read(node: Node, puppet: Puppet) -> list[tuple[int, bytes]]:
    """What has been pinned since the last call: the number of the request, and the first byte."""
    found = []
    for request, offset, size, _, why in puppet.heard(messages.PINNED):
        assert size >= 0, why
        found.append((request, bytes(node.store.arena.view(offset, 1))))
    return found


async def test_a_creation_that_waits_is_answered_when_there_is_room(node: Node) -> None:
    node.put(1, 6 * MIB)
    node.pin(node.worker, 1)
    request = node.create(node.worker, 2, 4 * MIB)
    assert node.worker.heard(messages.CREATED) == []
    node.driver.say(messages.FREE, [key(1)])
    assert node.worker.heard(messages.CREATED) == []
    node.worker.say(messages.UNPIN, key(1))
    ((answered, offset, kind, _),) = node.worker.heard(messages.CREATED)
    assert (answered, offset, kind) == (request, 0, "")


@pytest.mark.parametrize("end", ["cancel", "free", "hang up"])
async def test_a_creation_that_waits_is_taken_back(node: Node, end: str) -> None:
    node.put(1, 6 * MIB)
    node.pin(node.driver, 1)
    request = node.create(node.worker, 2, 4 * MIB)
    if end == "cancel":
        node.worker.say(messages.CANCEL, request)
    elif end == "free":
        node.driver.say(messages.FREE, [key(2)])
    else:
        node.worker.hang_up()
    assert [answer[:3] for answer in node.worker.heard(messages.CREATED)] == (
        [] if end == "hang up" else [(request, -1, "lost")]
    )
    assert node.store._room.tickets == {} and node.store._room.creations == {}
    node.driver.say(messages.UNPIN, key(1))
    assert node.worker.heard(messages.CREATED) == []


@pytest.mark.parametrize("end", ["makes no sense", "registers again"])
async def test_what_a_process_uses_is_nobody_elses_until_it_has_ended_whatever_happens_to_its_session(
    node: Node, end: str
) -> None:
    node.create(node.worker, 1, 5 * MIB)
    node.put(2, MIB)
    node.pin(node.worker, 2)
    if end == "makes no sense":
        node.worker.close(ProtocolError("no message is like this"))
    else:
        Puppet(node, node.worker.process_id, None)  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    node.driver.say(messages.FREE, [key(2)])
    request = node.create(node.driver, 3, 4 * MIB)
    await node.until_idle()
    assert node.driver.heard(messages.CREATED) == [] and node.store.table.used == 6 * MIB
    node.living.clear()
    async with asyncio.timeout(10):
        while not (created := node.driver.heard(messages.CREATED)):
            await asyncio.sleep(0.01)
    assert created[0][0] == request and node.store.table.used == 4 * MIB
    assert node.store.survivors.clients == {}


async def test_what_a_driver_has_used_comes_back_when_it_leaves_though_its_job_ends_first(node: Node) -> None:
    node.put(1, MIB)
    node.pin(node.driver, 1)
    node.driver.say(messages.FREE, [key(1)])
    node.create(node.driver, 2, MIB)
    node.sessions.end_job(JOB)
    await asyncio.sleep(0.01)
    assert node.sessions.by_process.keys() == {node.worker.process_id} and node.store.table.used == 0


async def test_what_processes_read_stays_as_it_is_when_the_node_stops(node: Node) -> None:
    node.put(1, MIB)
    node.pin(node.worker, 1)
    node.driver.say(messages.FREE, [key(1)])
    await node.sessions.stop()
    await asyncio.sleep(0.01)
    assert node.sessions.by_process == {} and node.store.table.used == MIB


async def test_readers_are_asked_for_what_they_do_not_need(node: Node) -> None:
    node.put(1, 6 * MIB)
    node.pin(node.driver, 1)
    node.create(node.worker, 2, 4 * MIB)
    await node.until_idle()
    assert node.driver.heard(messages.RELIEVE)[0] == (messages.RELIEVE_READ,)
    assert node.worker.heard(messages.RELIEVE) == [], "it has nothing"


async def test_what_is_on_disk_is_read_back_for_all_who_want_it(node: Node) -> None:
    for number in range(1, 6):
        node.put(number, 2 * MIB)
        await node.until_idle()
    assert not node.store.table.in_arena(key(1)) and node.store.holds(key(1))
    requests = [node.pin(node.worker, 1), node.pin(node.driver, 1)]
    await node.until_idle()
    assert read(node, node.worker) == [(requests[0], b"\1")]
    assert read(node, node.driver) == [(requests[1], b"\1")]
    assert node.store.table.statistics().restores == 1


async def test_what_is_read_while_a_copy_of_it_waits_for_room_is_brought_back_after_that() -> None:
    node = await Node(replace(DEFAULT, overflow_after=100.0)).start()
    node.put(2, 5 * MIB)
    node.pin(node.worker, 2)
    node.put(1, MIB)
    copy = asyncio.ensure_future(node.copy(1, 4 * MIB))
    await asyncio.sleep(0)
    await node.until_idle()
    assert node.store.table.evict() and not node.store.table.in_arena(key(1)) and node.store.holds(key(1))
    node.put(3, 3 * MIB)
    node.pin(node.worker, 3)
    await node.until_idle()
    request = node.pin(node.driver, 1)
    await asyncio.sleep(0.01)
    node.worker.say(messages.UNPIN, key(2))
    node.driver.say(messages.FREE, [key(2)])
    await copy
    await node.until_idle()
    assert read(node, node.driver) == [(request, b"\1")]
    await node.stop()


@pytest.mark.parametrize("end", ["cancel", "free", "hang up"])
async def test_who_reads_from_disk_may_go_meanwhile(node: Node, end: str) -> None:
    for number in range(1, 6):
        node.put(number, 2 * MIB)
        await node.until_idle()
    request = node.pin(node.worker, 1)
    if end == "cancel":
        node.worker.say(messages.CANCEL, request)
    elif end == "free":
        node.driver.say(messages.FREE, [key(1)])
    else:
        node.worker.hang_up()
    assert [answer[:3] for answer in node.worker.heard(messages.PINNED)] == (
        [] if end == "hang up" else [(request, 0, messages.PIN_LOST)]
    )
    await node.until_idle()
    assert node.store.holds(key(1)) == (end != "free")
    assert node.store.table.statistics().pins == 0


async def test_other_nodes_are_served_from_the_file(node: Node) -> None:
    for number in range(1, 6):
        node.put(number, 2 * MIB)
        await node.until_idle()
    source = node.store.source(key(1))
    assert source is not None and source.offset is None and source.file is not None
    path, offset = source.file
    node.driver.say(messages.FREE, [key(1)])
    await node.until_idle()
    assert node.disk.contents.read(path)[offset : offset + source.size] == b"\1" * source.size
    source.close()
    source.close()
    await node.until_idle()
    assert path not in node.disk.contents.files()


async def test_a_source_in_memory_stays_where_it_is_until_it_is_closed(node: Node) -> None:
    node.put(1, 2 * MIB)
    source = node.store.source(key(1))
    assert source is not None and source.offset is not None
    node.driver.say(messages.FREE, [key(1)])
    assert node.store.source(key(1)) is None and node.store.table.used > 0
    source.close()
    assert node.store.table.used == 0


async def test_what_is_at_other_nodes_is_fetched_and_the_owner_hears_of_backups(node: Node) -> None:
    asked: list[tuple[Any, ...]] = []

    async def fetch(*request: Any) -> int:
        asked.append(request)
        await node.copy(1, MIB, backup=True)
        await node.copy(2, 7 * MIB)  # which would evict the first one, if that was not kept for the reader
        return 2

    node.store.fetch = fetch
    request = node.pin(node.worker, 1, HERE, THERE, priority=messages.FOR_ARGUMENTS)
    await node.until_idle()
    assert asked == [(key(1), MIB, [HERE, THERE], messages.FOR_ARGUMENTS)]
    ((answered, _, size, number, _),) = node.worker.heard(messages.PINNED)
    assert (answered, size, number) == (request, MIB, 2)


async def test_a_fetch_ends_with_those_who_wait_for_it(node: Node) -> None:
    ended: list[str] = []

    async def fetch(*request: Any) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return 0

    node.store.fetch = fetch
    request = node.pin(node.worker, 1, THERE)
    await asyncio.sleep(0)
    node.worker.say(messages.CANCEL, request)
    await node.until_idle()
    assert ended == ["cancelled"]
    assert [answer[:3] for answer in node.worker.heard(messages.PINNED)] == [(request, 0, messages.PIN_LOST)]


async def test_what_cannot_be_fetched_says_why(node: Node) -> None:
    async def fetch(*request: Any) -> int:
        raise ObjectLostError("is nowhere")

    node.store.fetch = fetch
    node.pin(node.worker, 1, THERE)
    node.pin(node.worker, 2, HERE)
    await node.until_idle()
    assert {answer[4] for answer in node.worker.heard(messages.PINNED)} == {
        "is nowhere",
        "is not in its node's store any more",
    }


async def test_copies_are_evicted_backups_last_and_their_ends_reported(node: Node) -> None:
    await node.copy(1, 2 * MIB, backup=True)
    await node.copy(2, 2 * MIB)
    await node.copy(3, 2 * MIB)
    node.put(4, 3 * MIB)
    node.put(5, 3 * MIB)
    assert node.dropped == [key(2), key(3)]
    node.put(6, 2 * MIB)
    assert node.dropped == [key(2), key(3), key(1)]


async def test_a_backup_becomes_the_primary_copy_and_an_orphan_goes(node: Node) -> None:
    await node.copy(1, MIB, backup=True)
    await node.copy(2, MIB)
    node.pin(node.worker, 2)
    for number in (1, 3):
        node.driver.say(messages.PROMOTE, number, key(number))
    assert node.driver.heard(messages.PROMOTED) == [(1, True), (3, False)]
    node.store.orphaned([key(1), key(2)])
    assert node.store.holds(key(1)) and node.store.holds(key(2))
    node.worker.say(messages.UNPIN, key(2))
    assert not node.store.holds(key(2)) and node.dropped == [key(2)]


async def test_a_copy_that_waits_for_room_leaves_nothing_when_it_is_cancelled_or_freed(node: Node) -> None:
    node.put(1, 7 * MIB)
    node.pin(node.worker, 1)
    first = asyncio.ensure_future(node.store.create_copy(key(2), 4 * MIB))
    second = asyncio.ensure_future(node.store.create_copy(key(3), 4 * MIB))
    await asyncio.sleep(0)
    first.cancel()
    node.store.free([key(3)])
    with pytest.raises(ObjectLostError, match="freed"):
        await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert node.store._room.tickets == {}
    assert node.freed == [key(3)]


@pytest.mark.parametrize(
    "message",
    [
        (messages.CREATE, 1, key(1), 0),
        (messages.CREATE, 1, key(1), -MIB),
        (messages.CREATE, 1, b"short", MIB),
        (messages.CREATE, 7, key(2), MIB),
        (messages.PIN, 1, key(1), MIB, [THERE], messages.FOR_WAIT + 1),
        (messages.PIN, 1, key(1), MIB, [THERE], -1),
        (messages.PIN, 8, key(1), MIB, [THERE], messages.FOR_GET),
    ],
)
async def test_a_request_that_makes_no_sense_ends_the_stream_alone(node: Node, message: tuple[Any, ...]) -> None:
    node.put(3, 6 * MIB)
    node.pin(node.driver, 3)
    node.driver.say(messages.CREATE, 9, key(4), MIB)
    node.worker.say(messages.CREATE, 7, key(5), 4 * MIB)
    node.worker.say(messages.PIN, 8, key(4), MIB, [], messages.FOR_GET)
    with pytest.raises(ProtocolError):
        node.worker.say(*message)
    node.worker.hang_up()
    node.driver.say(messages.SEAL, key(4))
    await node.until_idle()
    assert node.store._room.tickets == {} and len(node.store._pins) == 0


@pytest.mark.parametrize("request_", [(key(1), 0, [THERE]), (key(1), -5, [THERE]), (b"k" * 70_000, MIB, [THERE])])
async def test_what_cannot_be_in_a_store_is_lost(node: Node, request_: tuple[bytes, int, list[Any]]) -> None:
    node.worker.say(messages.PIN, 1, *request_, messages.FOR_GET)
    ((_, _, size, _, why),) = node.worker.heard(messages.PINNED)
    assert size == messages.PIN_LOST and "cannot be in a store" in why


async def test_sources_that_make_no_sense_harm_nobody_else(node: Node) -> None:
    node.create(node.driver, 1, MIB)
    node.worker.say(messages.PIN, 1, key(1), MIB, [1, None, "x", []], messages.FOR_GET)
    node.driver.say(messages.ABORT, key(1))
    await node.until_idle()
    assert [answer[2] for answer in node.worker.heard(messages.PINNED)] == [messages.PIN_LOST]


async def test_memory_that_cannot_be_kept_ready_ends_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def populate(offset: int, size: int) -> None:
        tried.append(offset)
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(node.store.arena, "populate", populate)
    running = asyncio.ensure_future(node.store.run())
    node.put(1, MIB)
    while not tried:
        await asyncio.sleep(0.01)
    node.put(2, MIB)
    while len(tried) < 2:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_only_who_has_registered_uses_the_store(node: Node) -> None:
    (accept,) = node.sessions.streams.values()
    session: Any = accept(node.worker)  # type: ignore[arg-type]
    session.on_message(node.worker, [messages.HELLO, [b"x" * 16, b"n" * 16, "", ""], "worker"])
    with pytest.raises(ProtocolError):
        session.on_message(node.worker, [messages.CREATE, 1, key(1), MIB])
    with pytest.raises(ProtocolError):
        session.on_message(node.worker, [messages.HELLO, node.driver.address, "worker"])
    assert node.store.table.used == 0


async def test_a_folder_that_somebody_has_removed_is_made_again(node: Node) -> None:
    node.store._spill.decisions._retry_delay = 0.01
    node.put(1, 7 * MIB)
    await node.until_idle()
    node.driver.say(messages.FREE, [key(1)])
    await node.until_idle()
    await node.disk.remove("/spilled")
    node.put(2, 6 * MIB)
    node.create(node.worker, 3, 3 * MIB)
    async with asyncio.timeout(5):
        while not node.worker.heard(messages.CREATED):
            await asyncio.sleep(0.01)


async def test_nothing_is_written_once_the_store_stops() -> None:
    node = await Node().start()
    node.put(1, 4 * MIB)
    node.pin(node.worker, 1)
    node.create(node.driver, 2, 3 * MIB)
    node.pin(node.worker, 2)
    node.driver.say(messages.SEAL, key(2))
    assert len(node.store._background) == 0, "all of it is pinned"
    await node.stop()
    node.worker.hang_up()  # now much of it could go to disk
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(node.store._background) == 0 and node.store._background._failure is None
    assert node.disk.contents.files() == {}


async def test_files_are_gone_when_the_store_has_stopped() -> None:
    node = await Node().start()
    for number in range(1, 6):
        node.put(number, 2 * MIB)
        await node.until_idle()
    assert node.disk.contents.files()
    node.put(6, MIB)
    await node.stop()
    assert node.disk.contents.files() == {}
