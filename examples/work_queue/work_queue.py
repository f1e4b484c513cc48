"""Works through a list of jobs, though the processes that do it may die at any moment.

    python examples/work_queue/work_queue.py [--jobs N] [--consumers N]

A board hands jobs out on leases: one that is not finished in time is handed out again. Consumers are tasks, which
asyncray runs again when their process dies. The driver keeps what is finished, and puts up a new board when the old
one dies. `test_work_queue.py` beside it kills and suspends all of them, on simulated clusters.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

import asyncray
from asyncray.errors import ActorError

POLL_S = 0.05


@asyncray.remote(num_cpus=0)
class Board:
    """Jobs to do, jobs leased, and results."""

    def __init__(self, jobs: Sequence[int], lease_s: float) -> None:
        self.jobs = list(jobs)
        self.lease_s = lease_s
        self.leased_until: dict[int, float] = {}
        self.results: dict[int, int] = {}
        self.handed_out = 0

    async def take(self) -> int | None:
        """A job for the caller, as soon as there is one; None when all are finished."""
        while len(self.results) < len(self.jobs):
            now = asyncio.get_running_loop().time()
            for job in self.jobs:
                if job not in self.results and self.leased_until.get(job, now) <= now:
                    self.leased_until[job] = now + self.lease_s
                    self.handed_out += 1
                    return job
            await asyncio.sleep(POLL_S)
        return None

    async def finish(self, job: int, result: int) -> None:
        self.results[job] = result

    async def progress(self) -> tuple[dict[int, int], int]:
        """The results so far, and how often a job was handed out."""
        return self.results, self.handed_out


@asyncray.remote(max_retries=-1)
async def consume(board: asyncray.ActorHandle, seconds_a_job: float) -> None:
    """Does jobs until none is left."""
    while (job := await board.take.remote()) is not None:
        await asyncio.sleep(seconds_a_job)  # in place of something worth distributing
        await board.finish.remote(job, job * job)


async def work_through(
    jobs: Sequence[int], *, consumers: int = 4, seconds_a_job: float = 0.1, lease_s: float = 5.0
) -> tuple[dict[int, int], int]:
    """The result of each job, and how many jobs were handed out for that: more than there are, if something died."""
    results: dict[int, int] = {}
    handed_out_before = handed_out = 0
    while missing := [job for job in jobs if job not in results]:
        board = Board.remote(missing, lease_s)
        running = [consume.remote(board, seconds_a_job) for _ in range(consumers)]
        try:
            while len(results) < len(jobs):
                await asyncio.sleep(POLL_S)
                finished, handed_out = await board.progress.remote()
                results |= finished
        except ActorError:  # the board is gone: what it knew beyond `results` is done again
            handed_out_before += handed_out
            handed_out = 0
        await asyncray.wait(running, num_returns=consumers)
    return results, handed_out_before + handed_out


async def main(jobs: int, consumers: int) -> None:
    async with asyncray.init(num_cpus=consumers):
        results, handed_out = await work_through(range(jobs), consumers=consumers)
        print(f"{len(results)} jobs finished, {handed_out} handed out")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Works through jobs.")
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--consumers", type=int, default=4)
    options = parser.parse_args()
    asyncio.run(main(options.jobs, options.consumers))
