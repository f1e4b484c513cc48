from __future__ import annotations

from typing import Any

from asyncray.ids import JobId
from asyncray.messages import HELLO, JOB, JOB_ACCEPTED, JOB_ENDED, OWNER_HELD, PROCESS_DIED, SUBSCRIBE_ACTOR
from asyncray.proto import Empty


async def test_a_job_lasts_as_long_as_its_drivers_session(cluster: Any) -> None:
    nodes = [await cluster.node() for _ in range(2)]
    driver = await cluster.driver()
    nodes[1].deliver(OWNER_HELD, driver.process_id, b"")
    (job,) = (await cluster.calls.list_jobs(Empty())).jobs
    assert (job.job_id, job.alive, job.driver_pid, job.entrypoint) == (driver.job_id, True, 5, "app.py")
    driver.close()
    for node in nodes:
        assert await node.next(JOB_ENDED) == [JOB_ENDED, driver.job_id]
    assert (await nodes[1].next(PROCESS_DIED))[1] == driver.process_id
    (job,) = (await cluster.calls.list_jobs(Empty())).jobs
    assert not job.alive


async def test_a_job_id_is_given_once(cluster: Any) -> None:
    first, second = await cluster.driver(), cluster.process(role="driver")
    second.deliver(JOB, first.job_id, {})
    assert str(await second.ended()) == f"job id {first.job_id} is taken: connect again with another"
    assert not first.closed
    first.close()
    await cluster.ended(first)
    third = cluster.process(role="driver")
    third.deliver(JOB, first.job_id, {})
    assert "is taken" in str(await third.ended())


async def test_a_worker_has_no_job(cluster: Any) -> None:
    worker = cluster.process()
    worker.deliver(JOB, JobId.random(), {})
    assert str(await worker.ended()) == "only a driver has a job"


async def test_a_process_says_first_who_it_is(cluster: Any) -> None:
    for message in [(JOB, b"1234", {}), (SUBSCRIBE_ACTOR, b"a" * 16), (HELLO, [b"short"], "driver")]:
        stream = cluster.stream("ProcessSession")
        stream.deliver(*message)
        assert stream.error is not None


async def test_a_process_says_so_once(cluster: Any) -> None:
    driver = await cluster.driver()
    driver.deliver(HELLO, [driver.process_id, b"n" * 16, "", ""], "driver")
    assert "cannot come after its sender is known" in str(await driver.ended())


async def test_a_malformed_job_id_closes_the_session(cluster: Any) -> None:
    driver = cluster.process(role="driver")
    driver.deliver(JOB, b"too long", {})
    assert str(await driver.ended()) == "a job id has 4 bytes, got 8"
    assert JOB_ACCEPTED not in driver.kinds()
