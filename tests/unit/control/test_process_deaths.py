from __future__ import annotations

from typing import Any

from asyncray.messages import OWNER_HELD, PROCESS_DIED


async def test_a_death_is_told_once_to_the_nodes_that_hold_what_the_process_owned(cluster: Any) -> None:
    home, first, second, other = [await cluster.node() for _ in range(4)]
    process_id = home.worker()[0]
    for holder in (first, second, first):
        holder.deliver(OWNER_HELD, process_id, home.node_id)
    home.deliver(PROCESS_DIED, process_id, "signal 9")
    other.deliver(PROCESS_DIED, process_id, "connection reset")
    for node in (first, second):
        assert await node.next(PROCESS_DIED) == [PROCESS_DIED, process_id, "signal 9"]
    assert not any(PROCESS_DIED in node.kinds() for node in (home, first, second, other))
    assert not cluster.control.processes._holders


async def test_who_holds_objects_of_a_process_that_is_dead_is_told_at_once(cluster: Any) -> None:
    home, holder = await cluster.node(), await cluster.node()
    process_id = home.worker()[0]
    home.deliver(PROCESS_DIED, process_id, "signal 9")
    holder.deliver(OWNER_HELD, process_id, b"")
    assert await holder.next(PROCESS_DIED) == [PROCESS_DIED, process_id, "signal 9"]
    assert not cluster.control.processes._holders


async def test_the_death_of_a_node_is_that_of_owners_of_whom_only_a_holder_has_told(cluster: Any) -> None:
    home, holder = await cluster.node(), await cluster.node()
    process_id, late = home.worker()[0], home.worker()[0]
    holder.deliver(OWNER_HELD, process_id, home.node_id)
    home.close()
    assert (await holder.next(PROCESS_DIED))[1] == process_id
    holder.deliver(OWNER_HELD, late, home.node_id)
    _, told, cause = await holder.next(PROCESS_DIED)
    assert told == late
    assert cause.startswith("its node died: ")


async def test_a_holder_that_is_dead_is_forgotten(cluster: Any) -> None:
    home, holder = await cluster.node(), await cluster.node()
    holder.deliver(OWNER_HELD, home.worker()[0], home.node_id)
    holder.close()
    await cluster.lost(holder)
    assert not any(cluster.control.processes._holders.values())


async def test_the_dead_cannot_come_back(cluster: Any) -> None:
    node = await cluster.node()
    address = node.worker()
    worker = cluster.process(address)
    node.deliver(PROCESS_DIED, address[0], "signal 9")
    await worker.ended()
    assert "was declared dead: signal 9" in str(await cluster.process(address).ended())


async def test_a_worker_of_a_dead_node_is_refused(cluster: Any) -> None:
    node = await cluster.node()
    node.close()
    await cluster.lost(node)
    assert "and its workers with it" in str(await cluster.process(node.worker()).ended())


async def test_a_workers_session_ends_with_its_node_and_a_drivers_does_not(cluster: Any) -> None:
    node = await cluster.node()
    worker, driver = cluster.process(node.worker()), cluster.process(node.worker(), role="driver")
    node.close()
    await worker.ended()
    assert not driver.closed


async def test_the_end_of_a_workers_session_is_not_its_death(cluster: Any) -> None:
    node, other = await cluster.node(), await cluster.node()
    address = node.worker()
    other.deliver(OWNER_HELD, address[0], node.node_id)
    cluster.process(address).close()
    assert cluster.control.processes.death_cause(address[0]) is None
    assert PROCESS_DIED not in other.kinds()
    assert not cluster.process(address).closed
