"""The node's side of leases, message by message."""

from __future__ import annotations

import asyncio

from asyncray import messages
from asyncray.config import Config
from asyncray.node.reclaim import TURN
from asyncray.resources import UNITS, to_units

from .puppet_node import JOB, Puppet, PuppetNode, turn
from .virtual_loop import virtually

OTHER_JOB = b"job2"


async def node_with_workers(count: int = 4, **total: float) -> tuple[PuppetNode, list[Puppet]]:
    node = await PuppetNode(ready=count, **total).start()
    return node, node.come_up()


@virtually
async def test_a_request_is_granted_with_a_worker_and_its_gpus() -> None:
    node, _ = await node_with_workers(CPU=1, GPU=2)
    driver = node.driver()
    driver.ask(7, CPU=1, GPU=1)
    ((number, _, address, instances),) = driver.heard(messages.LEASE_GRANTED)
    assert number == 7
    assert address[0] in node.pool.workers
    assert instances == {"GPU": [0]}


@virtually
async def test_a_granted_lease_waits_for_its_worker_to_start() -> None:
    node, _ = await node_with_workers(0)
    driver = node.driver()
    driver.ask(1)
    assert driver.granted() == []
    (worker,) = node.come_up()
    ((_, _, process_id),) = driver.granted()
    assert process_id == worker.process_id


@virtually
async def test_a_returned_lease_serves_the_next_request_with_the_same_worker() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1, 2)
    ((_, lease, worker),) = driver.granted()
    driver.say(messages.LEASE_RETURN, lease)
    assert [(number, again) for number, _, again in driver.granted()] == [(2, worker)]


@virtually
async def test_a_lease_that_somebody_else_returns_stays() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver, other = node.driver(), node.driver(OTHER_JOB)
    driver.ask(1)
    ((_, lease, _),) = driver.granted()
    other.say(messages.LEASE_RETURN, lease)
    other.say(messages.LEASE_RETURN, b"no lease")
    assert node.resources.available["CPU"] == 0


@virtually
async def test_a_request_cancelled_while_its_worker_starts_gets_nothing_and_costs_nothing() -> None:
    node, _ = await node_with_workers(0)
    driver = node.driver()
    driver.ask(1)
    driver.say(messages.LEASE_CANCEL, 1)
    node.come_up()
    assert driver.granted() == []
    assert node.resources.available == node.resources.total
    assert node.pool.idle_count() == 1


@virtually
async def test_an_idle_holder_is_asked_for_its_lease_in_the_turn_in_which_somebody_waits() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver, other = node.driver(), node.driver(OTHER_JOB)
    driver.ask(1)
    ((_, lease, _),) = driver.granted()
    other.ask(1)
    await turn()
    assert driver.heard(messages.LEASE_RECLAIM) == [(lease, False)]
    assert other.heard(messages.LEASE_RECLAIM) == []


@virtually
async def test_a_busy_holder_is_asked_to_drain_its_lease_when_its_turn_is_over() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver, other = node.driver(), node.driver(OTHER_JOB)
    driver.ask(1, 2)
    ((_, lease, _),) = driver.granted()
    other.ask(1)
    await asyncio.sleep(TURN * 0.9)
    assert driver.heard(messages.LEASE_RECLAIM) == [(lease, False)]
    await asyncio.sleep(TURN * 0.3)
    assert driver.heard(messages.LEASE_RECLAIM) == [(lease, True)]
    driver.say(messages.LEASE_RETURN, lease)
    node.come_up()
    assert (len(driver.granted()), len(other.granted())) == (0, 1)


@virtually
async def test_the_requests_of_a_task_that_blocks_come_first_though_they_follow_the_word_of_it() -> None:
    node, workers = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1, 2)
    ((_, _, process_id),) = driver.granted()
    (worker,) = [puppet for puppet in workers if puppet.process_id == process_id]
    worker.say(messages.BLOCKED)
    worker.ask(1)
    await turn()
    assert (len(worker.granted()), len(driver.granted())) == (1, 0)


@virtually
async def test_the_cpu_of_a_task_that_blocks_goes_to_others_if_it_asks_for_nothing() -> None:
    node, workers = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1, 2)
    ((_, _, process_id),) = driver.granted()
    (worker,) = [puppet for puppet in workers if puppet.process_id == process_id]
    worker.say(messages.BLOCKED)
    await turn()
    assert [number for number, _, _ in driver.granted()] == [2]
    worker.say(messages.UNBLOCKED)
    assert node.resources.available["CPU"] == -UNITS


@virtually
async def test_the_holder_learns_why_its_worker_died() -> None:
    node, workers = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1)
    ((_, lease, process_id),) = driver.granted()
    (worker,) = [puppet for puppet in workers if puppet.process_id == process_id]
    node.die(worker, "signal 11")
    assert driver.heard(messages.LEASE_LOST) == [(lease, "signal 11", None)]
    assert node.resources.available == node.resources.total


@virtually
async def test_the_workers_of_a_holder_that_is_gone_are_killed() -> None:
    node, _ = await node_with_workers(CPU=2)
    driver = node.driver()
    driver.ask(1, 2, 3)
    used = {process_id for _, _, process_id in driver.granted()}
    driver.hang_up()
    assert set(node.launches.killed) == used
    assert node.resources.available == node.resources.total
    assert len(node.leases.queue) == 0


@virtually
async def test_a_worker_that_is_killed_with_its_holder_is_not_used_before_it_is_gone() -> None:
    node, _ = await node_with_workers(1, CPU=1)
    driver = node.driver()
    driver.ask(1)
    driver.granted()
    driver.hang_up()
    again = node.driver()
    again.ask(1)
    assert again.granted() == []
    node.come_up()
    assert len(again.granted()) == 1


@virtually
async def test_the_end_of_a_job_frees_everything_of_it_and_of_no_other() -> None:
    node, _ = await node_with_workers(CPU=2)
    driver, other = node.driver(), node.driver(OTHER_JOB)
    driver.ask(1)
    other.ask(1, job=OTHER_JOB)
    ((_, _, mine),), ((_, _, others),) = driver.granted(), other.granted()
    driver.ask(2)
    node.end_job(JOB)
    assert node.launches.killed == [mine]
    assert len(node.leases.queue) == 0
    assert node.resources.available["CPU"] == UNITS
    assert node.pool.workers[others].busy


@virtually
async def test_a_worker_that_was_killed_is_granted_nothing() -> None:
    node, (worker, *_) = await node_with_workers(2, CPU=1)
    node.pool.end(node.worker(worker), graceful=False)
    worker.ask(1)
    assert worker.granted() == []
    assert len(node.leases.queue) == 0


@virtually
async def test_a_worker_that_was_asked_to_exit_is_granted_what_the_tasks_it_owns_need() -> None:
    node, (worker, *_) = await node_with_workers(2, CPU=1)
    node.pool.end(node.worker(worker), graceful=True)
    worker.ask(1)
    assert len(worker.granted()) == 1


# ---- other nodes


@virtually
async def test_a_request_goes_to_a_free_node_when_this_one_is_busy() -> None:
    node, _ = await node_with_workers(CPU=1)
    node.other_node(b"away", available=4)
    driver = node.driver()
    driver.ask(1)
    driver.ask(2)
    assert driver.heard(messages.LEASE_SPILLED) == [(1, "away"), (2, "away")]


@virtually
async def test_a_request_that_another_node_sent_waits_here_if_it_can_ever_run() -> None:
    node, _ = await node_with_workers(CPU=1)
    node.other_node(b"away", available=4)
    driver = node.driver()
    driver.ask(1, 2, spilled=True)
    driver.ask(3, spilled=True, CPU=2)
    assert [number for number, _, _ in driver.granted()] == [1]
    assert driver.heard(messages.LEASE_SPILLED) == [(3, "away")]


@virtually
async def test_no_more_is_sent_to_a_node_than_it_had_free() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1)
    node.other_node(b"away", available=2)
    driver.ask(*range(2, 12))
    assert len(driver.heard(messages.LEASE_SPILLED)) == 2


@virtually
async def test_what_waits_here_moves_on_when_another_node_becomes_free() -> None:
    node, _ = await node_with_workers(CPU=1)
    node.other_node(b"away", available=0)
    driver = node.driver()
    driver.ask(1, 2, 3, 4)
    assert driver.heard(messages.LEASE_SPILLED) == []
    node.other_node(b"away", available=2)
    assert driver.heard(messages.LEASE_SPILLED) == [(2, "away"), (3, "away")]


@virtually
async def test_what_waits_here_moves_on_when_nothing_came_of_what_was_sent_before() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1)
    node.other_node(b"away", available=1)
    driver.ask(2, 3)
    assert driver.heard(messages.LEASE_SPILLED) == [(2, "away")]
    await asyncio.sleep(1)
    assert driver.heard(messages.LEASE_SPILLED) == [(3, "away")]


@virtually
async def test_what_can_never_run_here_moves_to_a_node_that_joins() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1, CPU=3)
    node.other_node(b"away", available=0)
    assert driver.heard(messages.LEASE_SPILLED) == [(1, "away")]


@virtually
async def test_who_asks_for_what_no_node_has_is_warned_once() -> None:
    node = await PuppetNode(config=Config(infeasible_warning_after=5), CPU=1).start()
    driver = node.driver()
    driver.ask(1, CPU=1, accelerator=2)
    await asyncio.sleep(60)
    ((text,),) = driver.heard(messages.WARNING)
    assert "accelerator" in text and "CPU" not in text.split("(")[1]


@virtually
async def test_the_control_link_is_told_of_every_change() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1)
    assert node.leases.changed.is_set()
    ((_, lease, _),) = driver.granted()
    node.leases.changed.clear()
    driver.say(messages.LEASE_RETURN, lease)
    assert node.leases.changed.is_set()
    assert node.resources.available == to_units({"CPU": 1})


@virtually
async def test_nothing_happens_later_once_it_has_stopped() -> None:
    node, _ = await node_with_workers(CPU=1)
    driver = node.driver()
    driver.ask(1, 2)
    node.driver(OTHER_JOB).ask(1)
    node.other_node(b"away", available=1)
    await turn()
    driver.heard(messages.LEASE_RECLAIM)
    await node.leases.stop()
    await asyncio.sleep(1)
    assert driver.heard(messages.LEASE_RECLAIM) == []


@virtually
async def test_who_leaves_returns_a_lease_of_which_it_has_not_heard_and_the_worker_lives() -> None:
    node, workers = await node_with_workers(CPU=1)
    driver, other = node.driver(), node.driver(OTHER_JOB)
    driver.ask(1)
    driver.say(messages.LEASE_CANCEL, 1)  # it has crossed the grant
    driver.say(messages.LEAVE, 2)
    assert driver.heard(messages.LEFT) == [(2,)]
    assert node.resources.available == node.resources.total
    assert node.pool.idle_count() == len(workers)
    ((_, lease, _),) = driver.granted()
    driver.say(messages.LEASE_RETURN, lease)
    other.ask(1)
    assert len(other.granted()) == 1
