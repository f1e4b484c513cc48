"""A node's real managers, whose processes are puppets: a test says what each does, and sees what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from asyncray import messages
from asyncray.config import Config
from asyncray.node.actor_host import ActorHost
from asyncray.node.lease_manager import LeaseManager
from asyncray.node.lease_queue import NodeResources
from asyncray.node.scheduling import NodeView
from asyncray.node.sessions import Session, Sessions
from asyncray.node.worker_pool import Worker, WorkerPool
from asyncray.platform import Platform
from asyncray.resources import to_units

JOB = b"job1"


class Puppet:
    """A process on the other end of a session's stream."""

    def __init__(self, node: PuppetNode, process_id: bytes, job_id: bytes | None) -> None:
        self.process_id = process_id
        self.told: list[tuple[Any, ...]] = []
        self.closed = self.closed_here = False
        (accept,) = node.sessions.streams.values()
        self._session: Session = accept(self)
        self.address = [process_id, b"n" * 16, f"/{process_id.hex()}.sock", ""]
        self.say(messages.HELLO, self.address, "driver" if job_id else "worker")
        self.say(messages.REGISTER, 1, job_id, {"namespace": "space"} if job_id else {})

    def say(self, *message: Any) -> None:
        assert tuple(map(type, message)) in messages.SHAPES[message[0]], message
        self._session.on_message(self, list(message))  # type: ignore[arg-type]

    def heard(self, kind: int) -> list[tuple[Any, ...]]:
        """The fields of all messages of that kind since the last call for it."""
        found = [message[1:] for message in self.told if message[0] == kind]
        self.told = [message for message in self.told if message[0] != kind]
        return found

    def ask(self, *numbers: int, spilled: bool = False, job: bytes = JOB, **demand: float) -> None:
        for number in numbers:
            self.say(messages.LEASE_REQUEST, number, to_units(demand or {"CPU": 1}), job, spilled, "f", True)

    def granted(self) -> list[tuple[int, bytes, bytes]]:
        """(request, lease, process id of the worker) of each lease granted since the last call."""
        return [(number, lease, address[0]) for number, lease, address, _ in self.heard(messages.LEASE_GRANTED)]

    def hang_up(self) -> None:
        self.closed = True
        self._session.on_close(self, None)  # type: ignore[arg-type]

    # ---- what the session calls

    def send(self, message: tuple[Any, ...]) -> None:
        assert tuple(map(type, message)) in messages.SHAPES[message[0]], message
        self.told.append(message)

    def close(self, error: Exception | None = None) -> None:
        if not self.closed:
            self.closed = self.closed_here = True
            asyncio.get_running_loop().call_soon(self._session.on_close, self, error)


class Launches:
    """A launcher that starts nothing by itself."""

    def __init__(self) -> None:
        self.starting: list[bytes] = []
        self.total = 0
        self.killed: list[bytes] = []
        self.exited: Callable[[bytes, str], None] = lambda process_id, cause: None

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        self.exited = on_exit

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        assert specification["process_id"] == process_id
        self.total += 1
        self.starting.append(process_id)

    def kill(self, process_id: bytes) -> None:
        self.killed.append(process_id)

    def clean(self, process_id: bytes) -> None:
        pass

    async def stop(self) -> None:
        pass


class PuppetNode:
    """Used inside one virtual loop."""

    def __init__(self, *, ready: int = 0, config: Config | None = None, **total: float) -> None:
        self.config = config or Config()
        self.node_id = b"n" * 16
        self.sessions = Sessions(self.node_id, lambda: "127.0.0.1:1")
        self.launches = Launches()
        numbers = count(1)
        platform = Platform(None, entropy=lambda size: next(numbers).to_bytes(size, "big"))  # type: ignore[arg-type]
        self.pool = WorkerPool(self.sessions, self.launches, platform, self.config, {})
        self.pool.keep_ready(ready)
        self.resources = NodeResources(to_units(total or {"CPU": 2}))
        self.leases = LeaseManager(self.node_id, self.resources, self.sessions, self.pool, platform, self.config)
        self.actors = ActorHost(self.sessions, self.pool, self.leases)
        self.reports: list[tuple[Any, ...]] = []
        self.actors.report = lambda *message: self.reports.append(message)
        self._drivers = count(1)

    async def start(self, *, run: bool = True) -> PuppetNode:
        await self.pool.start()
        if run:
            self._running = [asyncio.ensure_future(manager.run()) for manager in (self.pool, self.leases)]
        return self

    def driver(self, job_id: bytes = JOB) -> Puppet:
        return Puppet(self, b"driver %d" % next(self._drivers), job_id)

    def come_up(self, most: int = 1000) -> list[Puppet]:
        """Workers that were launched register, at most so many."""
        starting, self.launches.starting = self.launches.starting[:most], self.launches.starting[most:]
        return [Puppet(self, process_id, None) for process_id in starting]

    def worker(self, puppet: Puppet) -> Worker:
        return self.pool.workers[puppet.process_id]

    def die(self, puppet: Puppet, cause: str = "killed by a test") -> None:
        """A worker ends: first its stream does, then the zygote says why."""
        puppet.hang_up()
        self.launches.exited(puppet.process_id, cause)

    def end_job(self, job_id: bytes) -> None:
        """As the control link does."""
        self.leases.end_job(job_id)
        self.pool.end_job(job_id)
        self.sessions.jobs.pop(job_id, None)

    def other_node(self, name: bytes, *, available: float, total: float = 4) -> None:
        """The view of another node arrives: its CPUs."""
        view = NodeView(name, name.decode(), to_units({"CPU": total}), to_units({"CPU": available}))
        self.leases.view[name] = view
        self.leases.respill()


async def turn() -> None:
    """Lets what is scheduled for this turn of the loop happen."""
    for _ in range(3):
        await asyncio.sleep(0)
