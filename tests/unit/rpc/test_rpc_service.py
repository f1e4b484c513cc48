from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from asyncray.errors import AddressInUse, ConnectionFailed
from asyncray.proto import Empty, NodeBase, NodeStatus, NodeStub
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.service import Manager, Service

from .endpoints import PATIENCE, ROUTE, TOKEN, Recorder, Server

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


class Diary:
    def __init__(self) -> None:
        self.lines: list[str] = []


class Noting(Manager):
    """Writes down what happens to it."""

    def __init__(self, name: str, diary: Diary, **fails: Exception) -> None:
        self.name = name
        self.diary = diary
        self.fails = fails

    async def _note(self, what: str) -> None:
        self.diary.lines.append(f"{self.name} {what}")
        if what in self.fails:
            raise self.fails[what]

    async def start(self) -> None:
        await self._note("start")

    async def run(self) -> None:
        await self._note("run")
        try:
            await asyncio.Event().wait()
        finally:
            self.diary.lines.append(f"{self.name} run ends")

    async def stop(self) -> None:
        await self._note("stop")


def service(*managers: Manager, **place: Any) -> Service:
    return Service("test", managers, GrpcNetwork(TOKEN), **place)


async def serve(service: Service) -> asyncio.Task[None]:
    """Serves, and returns when it is ready."""
    ready = asyncio.Event()
    task = asyncio.create_task(service.serve(on_ready=ready.set))
    async with asyncio.timeout(PATIENCE):
        await ready.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return task


async def finished(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await task


async def test_managers_start_in_order_and_stop_in_reverse() -> None:
    diary = Diary()
    daemon = service(Noting("a", diary), Noting("b", diary))
    task = await serve(daemon)
    assert diary.lines == ["a start", "b start", "a run", "b run"]
    daemon.request_stop("enough")
    daemon.request_stop("really")
    await finished(task)
    assert diary.lines[4:] == ["a run ends", "b run ends", "b stop", "a stop"]


async def test_a_manager_that_raises_ends_the_service_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    daemon = service(Noting("a", diary), Noting("b", diary, run=KeyError("bug")), Noting("c", diary))
    with pytest.raises(KeyError, match="bug"):
        await finished(asyncio.create_task(daemon.serve()))
    assert diary.lines[-3:] == ["c stop", "b stop", "a stop"]
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert "Traceback" in caplog.text


async def test_a_manager_that_cannot_start_stops_what_has_started() -> None:
    diary = Diary()
    daemon = service(Noting("a", diary), Noting("b", diary, start=OSError("disk")), Noting("c", diary))
    with pytest.raises(OSError, match="disk"):
        await finished(asyncio.create_task(daemon.serve()))
    assert diary.lines == ["a start", "b start", "b stop", "a stop"]


async def test_a_manager_that_cannot_stop_does_not_keep_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    daemon = service(Noting("a", diary), Noting("b", diary, stop=OSError("disk")))
    task = await serve(daemon)
    daemon.request_stop("enough")
    await finished(task)
    assert diary.lines[-2:] == ["b stop", "a stop"]
    assert "Noting failed to stop" in caplog.text


async def test_cancelling_serve_stops_everything() -> None:
    diary = Diary()
    task = await serve(service(Noting("a", diary)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finished(task)
    assert diary.lines[-2:] == ["a run ends", "a stop"]


async def test_a_service_goes_on_when_its_managers_have_nothing_to_run() -> None:
    daemon = service(Manager(), Manager())
    task = await serve(daemon)
    await asyncio.sleep(0)
    assert not task.done()
    daemon.request_stop("enough")
    await finished(task)


async def test_several_failures_at_once_are_all_raised() -> None:
    diary = Diary()
    daemon = service(Noting("a", diary, run=KeyError("one")), Noting("b", diary, run=ValueError("two")))
    with pytest.raises(ExceptionGroup) as failures:
        await finished(asyncio.create_task(daemon.serve()))
    assert failures.group_contains(KeyError)
    assert failures.group_contains(ValueError)


class Node(NodeBase):
    async def status(self, request: Empty) -> NodeStatus:
        return NodeStatus(workers=5)


class Serving(Manager):
    """Serves a method and a stream; its farewell is sent while it stops."""

    def __init__(self) -> None:
        self.server = Server()
        self.services = [Node()]
        self.streams = {ROUTE: self.server.accept}

    async def stop(self) -> None:
        for accepted in self.server.accepted:
            accepted.stream.send((45, True))


async def test_a_service_serves_what_its_managers_bring_until_they_have_stopped(socket_path: str) -> None:
    serving = Serving()
    daemon = service(Manager(), serving, unix_path=socket_path, host="127.0.0.1")
    assert daemon.listener is None
    task = await serve(daemon)
    assert daemon.listener is not None and daemon.listener.port
    channel = await GrpcNetwork(TOKEN).connect(f"127.0.0.1:{daemon.listener.port}")
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    assert (await channel.stub(NodeStub).status(Empty())).workers == 5
    daemon.request_stop("enough")
    await finished(task)
    assert recorder.messages or await recorder.received(1)
    assert recorder.messages == [[45, True]]
    assert await recorder.ended() is None
    assert daemon.listener is None
    with pytest.raises(ConnectionFailed):
        await GrpcNetwork(TOKEN).connect(f"unix:{socket_path}")
    channel.close()


async def test_a_service_whose_address_is_taken_stops_its_managers(server: Server) -> None:
    diary = Diary()
    daemon = service(Noting("a", diary), host="127.0.0.1", port=server.listener.port)
    with pytest.raises(AddressInUse):
        await finished(asyncio.create_task(daemon.serve()))
    assert diary.lines == ["a start", "a stop"]
