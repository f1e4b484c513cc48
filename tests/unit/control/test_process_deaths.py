from __future__ import annotations

from typing import Any

from asyncray.messages import PROCESS_DIED


async def test_a_death_is_forwarded_once_to_all_other_nodes(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(3)]
    process_id = nodes[0].worker()[0]
    nodes[0].deliver(PROCESS_DIED, process_id, "signal 9")
    nodes[1].deliver(PROCESS_DIED, process_id, "connection reset")
    for node in nodes[1:]:
        assert await node.next(PROCESS_DIED) == [PROCESS_DIED, process_id, "signal 9"]
    assert not any(PROCESS_DIED in node.kinds() for node in nodes)


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
    cluster.process(address).close()
    assert cluster.control.processes.death_cause(address[0]) is None
    assert PROCESS_DIED not in other.kinds()
    assert not cluster.process(address).closed
