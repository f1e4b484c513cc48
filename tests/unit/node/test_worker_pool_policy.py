"""When workers are started, to whom they are given, and when they end."""

from __future__ import annotations

import asyncio

from asyncray import messages
from asyncray.config import Config
from asyncray.node.worker_pool import Claim, Worker

from .puppet_node import JOB, PuppetNode
from .virtual_loop import virtually

OTHER_JOB = b"job2"


class Claims:
    """Claims workers, and remembers which came."""

    def __init__(self, node: PuppetNode) -> None:
        self.node = node
        self.workers: list[Worker] = []

    def claim(self, job_id: bytes = JOB, *, dedicated: bool = False) -> Claim:
        return self.node.pool.claim(job_id, self.workers.append, dedicated=dedicated)


@virtually
async def test_it_starts_workers_ahead() -> None:
    node = await PuppetNode(ready=3).start()
    assert node.launches.total == 3
    node.come_up()
    assert node.pool.idle_count() == 3


@virtually
async def test_an_idle_worker_is_given_at_once() -> None:
    node = await PuppetNode(ready=1).start()
    node.driver()
    (puppet,) = node.come_up()
    claims = Claims(node)
    claims.claim()
    assert claims.workers == [node.worker(puppet)]
    assert (claims.workers[0].job_id, claims.workers[0].job) == (JOB, {"namespace": "space"})


@virtually
async def test_a_claim_without_an_idle_worker_starts_one() -> None:
    node = await PuppetNode().start()
    claims = Claims(node)
    claims.claim()
    claims.claim()
    assert node.launches.total == 2
    node.come_up()
    assert len(claims.workers) == 2


@virtually
async def test_only_so_many_workers_start_at_the_same_time() -> None:
    node = await PuppetNode().start()
    claims = Claims(node)
    for _ in range(20):
        claims.claim()
    assert node.launches.total == 4
    while node.launches.starting:
        assert len(node.launches.starting) <= 4
        node.come_up(1)
    assert len(claims.workers) == node.launches.total == 20


@virtually
async def test_workers_that_start_already_are_enough_for_as_many_claims() -> None:
    node = await PuppetNode(ready=2).start()
    claims = Claims(node)
    claims.claim()
    claims.claim()
    assert node.launches.total == 2


@virtually
async def test_a_released_worker_goes_to_who_waits_longest() -> None:
    node = await PuppetNode().start()
    first, second, third = Claims(node), Claims(node), Claims(node)
    first.claim()
    node.come_up()
    second.claim()
    third.claim()
    node.pool.release(first.workers[0])
    assert (second.workers, third.workers) == (first.workers, [])


@virtually
async def test_a_worker_of_a_job_is_never_given_to_another() -> None:
    node = await PuppetNode(ready=1).start()
    claims, others = Claims(node), Claims(node)
    node.come_up()
    claims.claim()
    node.pool.release(claims.workers[0])
    others.claim(OTHER_JOB)
    assert others.workers == []
    node.come_up()
    assert others.workers[0] is not claims.workers[0]
    claims.claim()
    assert claims.workers[1] is claims.workers[0]


@virtually
async def test_a_cancelled_claim_gets_nothing() -> None:
    node = await PuppetNode().start()
    claims = Claims(node)
    claims.claim().cancelled = True
    node.come_up()
    assert claims.workers == []
    assert node.pool.idle_count() == 1


@virtually
async def test_a_worker_that_ends_is_replaced_to_keep_the_target() -> None:
    node = await PuppetNode(ready=2).start()
    claims = Claims(node)
    puppet, _ = node.come_up()
    claims.claim()
    node.die(puppet)
    assert node.launches.total == 3


@virtually
async def test_workers_that_actors_take_are_replaced_so_that_the_next_task_finds_one() -> None:
    node = await PuppetNode(ready=2).start()
    node.come_up()
    claims = Claims(node)
    for actors in range(1, 31):
        claims.claim(dedicated=True)
        node.come_up()
        assert node.pool.idle_count() == 2
        assert len(node.pool.workers) == actors + 2


@virtually
async def test_workers_that_tasks_use_are_not_replaced() -> None:
    node = await PuppetNode(ready=2).start()
    node.come_up()
    claims = Claims(node)
    claims.claim()
    claims.claim()
    assert node.launches.total == 2


@virtually
async def test_idle_workers_above_the_target_end_after_a_while_the_longest_idle_first() -> None:
    node = await PuppetNode(ready=1, config=Config(worker_idle_timeout=10)).start()
    claims = Claims(node)
    for _ in range(3):
        claims.claim()
    puppets = node.come_up()
    for worker in reversed(claims.workers):
        node.pool.release(worker)
        await asyncio.sleep(1)
    await asyncio.sleep(5)
    assert not any(puppet.heard(messages.EXIT) for puppet in puppets)
    await asyncio.sleep(20)
    last_used = claims.workers[0].process_id
    assert [puppet.process_id for puppet in puppets if not puppet.heard(messages.EXIT)] == [last_used]


@virtually
async def test_a_worker_on_its_way_out_is_given_to_nobody() -> None:
    node = await PuppetNode(ready=1).start()
    (puppet,) = node.come_up()
    node.pool.end(node.worker(puppet), graceful=True)
    claims = Claims(node)
    claims.claim()
    assert claims.workers == []
    node.pool.release(node.worker(puppet))
    assert claims.workers == []


@virtually
async def test_a_worker_that_hangs_up_is_killed_and_not_used_any_more() -> None:
    node = await PuppetNode(ready=1).start()
    (puppet,) = node.come_up()
    puppet.hang_up()
    assert node.launches.killed == [puppet.process_id]
    claims = Claims(node)
    claims.claim()
    assert claims.workers == []


@virtually
async def test_a_worker_that_does_not_come_up_is_killed_once_and_replaced() -> None:
    node = await PuppetNode(ready=1, config=Config(worker_start_timeout=10)).start()
    (process_id,) = node.launches.starting
    await asyncio.sleep(60)
    assert node.launches.killed == [process_id]
    node.launches.exited(process_id, "killed")
    await asyncio.sleep(1)
    assert node.launches.total == 2


@virtually
async def test_workers_that_never_come_up_are_started_less_and_less_often() -> None:
    node = await PuppetNode(ready=2).start()
    claims = Claims(node)
    claims.claim()
    for _ in range(1000):
        starting, node.launches.starting = node.launches.starting, []
        for process_id in starting:
            node.launches.exited(process_id, "cannot import")
        claims.claim()
        await asyncio.sleep(0.1)
    assert 10 < node.launches.total < 80


@virtually
async def test_workers_that_die_before_they_are_used_are_started_less_and_less_often() -> None:
    node = await PuppetNode(ready=2).start()
    for _ in range(1000):
        for puppet in node.come_up():
            node.die(puppet)
        await asyncio.sleep(0.1)
    assert 10 < node.launches.total < 40


@virtually
async def test_drivers_whose_tasks_wait_are_told_that_workers_do_not_come_up() -> None:
    node = await PuppetNode(ready=1).start()
    driver, other = node.driver(), node.driver(OTHER_JOB)
    Claims(node).claim()
    for _ in range(200):
        starting, node.launches.starting = node.launches.starting, []
        for process_id in starting:
            node.launches.exited(process_id, "no module named numpy")
        await asyncio.sleep(0.1)
    told = driver.heard(messages.WARNING)
    assert 2 < len(told) < 8
    assert all("no module named numpy" in text for (text,) in told)
    assert other.heard(messages.WARNING) == []


@virtually
async def test_after_a_crash_loop_the_first_worker_that_is_used_ends_the_pause() -> None:
    node = await PuppetNode(ready=1).start()
    for _ in range(100):
        for puppet in node.come_up():
            node.die(puppet)
        await asyncio.sleep(0.1)
    claims = Claims(node)
    claims.claim()
    await asyncio.sleep(14)
    (puppet,) = node.come_up()
    assert len(claims.workers) == 1
    before = node.launches.total
    node.die(puppet)
    for _ in range(3):
        claims.claim()
    assert node.launches.total == before + 3


@virtually
async def test_tasks_that_crash_their_workers_do_not_slow_down_others() -> None:
    node = await PuppetNode(ready=1).start()
    claims = Claims(node)
    for crashes in range(1, 30):
        claims.claim()
        (puppet,) = node.come_up()
        assert len(claims.workers) == crashes
        node.die(puppet)


@virtually
async def test_idle_workers_end_with_their_job() -> None:
    node = await PuppetNode(ready=2).start()
    claims = Claims(node)
    claims.claim()
    mine, other = node.come_up()
    node.pool.release(claims.workers[0])
    node.end_job(JOB)
    assert node.launches.killed == [mine.process_id]
    assert node.worker(other).is_idle


@virtually
async def test_nobody_starts_anything_while_the_node_stops() -> None:
    node = await PuppetNode(ready=1).start()
    (puppet,) = node.come_up()
    await node.pool.stop()
    node.die(puppet)
    assert node.launches.total == 1
