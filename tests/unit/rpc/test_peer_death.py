"""Processes that die, stop reading, or fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import ConnectionFailed
from asyncray.proto import Empty, NodeStub
from asyncray.rpc.network import GrpcNetwork

from .endpoints import PATIENCE, ROUTE, TOKEN, Recorder, Server, release

pytestmark = [pytest.mark.usefixtures("leaves_nothing_behind"), pytest.mark.asyncio(loop_factories=["uvloop"])]

SCRIPT = Path(__file__).with_name("peer_process.py")
WATCHFUL = Config(ping_interval=0.05, node_silence_timeout=0.4)


class Peer:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.target = ""

    async def says(self, word: str) -> list[str]:
        """Waits for a line that begins with the word."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self.process.stdout.readline()).decode()
                assert line, f"the process ended before it said {word}"
                if line.split()[0] == word:
                    return line.split()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@contextlib.asynccontextmanager
async def peer(mode: str, where: str) -> AsyncIterator[Peer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), mode, where, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    peer = Peer(process)
    try:
        peer.target = (await peer.says("ready"))[1]
        yield peer
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


@pytest.fixture
async def other(socket_path: str) -> AsyncIterator[Peer]:
    """A process that serves on `socket_path` and on TCP."""
    async with peer("serve", socket_path) as other:
        yield other
    with contextlib.suppress(FileNotFoundError):
        os.unlink(socket_path)


async def test_a_killed_server_ends_the_streams_and_calls_of_its_clients_at_once(other: Peer, socket_path: str) -> None:
    for target in (f"unix:{socket_path}", other.target):
        channel = await GrpcNetwork(TOKEN).connect(target)
        recorders = [Recorder() for _ in range(2)]
        for recorder in recorders:
            await channel.open(ROUTE, recorder)
        if target == other.target:
            start = time.perf_counter()
            other.signal(signal.SIGKILL)
            for recorder in recorders:
                error = await recorder.ended()
                assert isinstance(error, ConnectionFailed)
                assert target in str(error)
            assert time.perf_counter() - start < 2
            with pytest.raises(ConnectionFailed):
                await channel.stub(NodeStub).status(Empty())
        channel.close()


async def test_a_killed_client_ends_its_streams_at_the_server_at_once(server: Server) -> None:
    for target in (server.unix, server.tcp):
        async with peer("dial", target) as client:
            assert not server.last.stream.closed
            client.signal(signal.SIGKILL)
            start = time.perf_counter()
            assert isinstance(await server.last.recorder.ended(), ConnectionFailed)
            assert time.perf_counter() - start < 2
    assert len(server.accepted) == 2


async def test_a_server_that_ends_well_ends_streams_cleanly(other: Peer, socket_path: str) -> None:
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{socket_path}")
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    assert other.process.stdin is not None
    other.process.stdin.close()
    assert await recorder.ended() is None
    await other.says("closed")
    await other.process.wait()
    assert other.process.returncode == 0
    channel.close()


async def test_a_peer_that_does_not_read_holds_up_who_waits_until_it_reads_again(other: Peer, socket_path: str) -> None:
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{socket_path}")
    stream = await channel.open(ROUTE, Recorder())
    other.signal(signal.SIGSTOP)
    message = (messages.RELEASE, bytes(100_000))
    sent = 0
    most = 0

    async def send() -> None:
        nonlocal sent, most
        while True:
            stream.send(message)
            sent += 1
            await stream.drained()
            most = max(most, stream.unsent)

    sending = asyncio.create_task(send())
    _, pending = await asyncio.wait([sending], timeout=0.5)
    assert pending
    assert sent < 50, "what the kernel and the transport keep is a few megabytes at the most"
    assert most < 2 * len(message[1])
    sending.cancel()
    stream.send((messages.GET, b""))
    other.signal(signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        await stream.drained()
    assert int((await other.says("count"))[1]) == sent + 1
    assert stream.unsent == 0
    channel.close()


async def test_who_waits_for_a_peer_that_does_not_read_is_woken_by_its_death(other: Peer, socket_path: str) -> None:
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{socket_path}")
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    other.signal(signal.SIGSTOP)
    for _ in range(100):
        stream.send((messages.RELEASE, bytes(100_000)))
    waiting = [asyncio.create_task(stream.drained()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert stream.unsent
    other.signal(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait(waiting)
    assert waiting[1].exception() is None
    assert isinstance(await recorder.ended(), ConnectionFailed)
    channel.close()


async def test_closing_a_channel_to_a_peer_that_does_not_read_takes_no_longer_than_the_stop_timeout(
    other: Peer, socket_path: str
) -> None:
    channel = await GrpcNetwork(TOKEN, Config(stop_timeout=0.2)).connect(f"unix:{socket_path}")
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    other.signal(signal.SIGSTOP)
    for _ in range(100):
        stream.send((messages.RELEASE, bytes(100_000)))
    channel.close()
    assert await recorder.ended() is None
    transport = channel._connection._transport  # type: ignore[attr-defined]
    async with asyncio.timeout(PATIENCE):
        while transport.get_write_buffer_size():
            await asyncio.sleep(0.01)
    other.signal(signal.SIGCONT)
    assert (await other.says("closed"))[1] == "ConnectionFailed", "not all had arrived: that was no clean end"


async def test_a_silent_peer_of_a_watched_channel_is_dead(other: Peer) -> None:
    channel = await GrpcNetwork(TOKEN, WATCHFUL).connect(other.target, keepalive=True)
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    other.signal(signal.SIGSTOP)
    start = time.perf_counter()
    error = await recorder.ended()
    assert isinstance(error, ConnectionFailed)
    assert "said nothing for 0.4 s" in str(error)
    assert 0.3 < time.perf_counter() - start < 5
    channel.close()


async def test_an_idle_peer_that_answers_pings_is_alive(other: Peer) -> None:
    channel = await GrpcNetwork(TOKEN, WATCHFUL).connect(other.target, keepalive=True)
    recorder = Recorder()
    await channel.open(ROUTE, recorder)
    await asyncio.sleep(1)
    assert not recorder.ends
    channel.close()


async def test_a_blocked_loop_is_not_dead_to_who_does_not_watch(other: Peer) -> None:
    channel = await GrpcNetwork(TOKEN, WATCHFUL).connect(other.target)
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    stream.send((messages.BORROW, b"", 1))
    stream.send((messages.GET, b""))
    await other.says("count")
    assert not recorder.ends
    channel.close()


async def test_an_own_blocked_loop_makes_no_peer_dead(other: Peer) -> None:
    channel = await GrpcNetwork(TOKEN, WATCHFUL).connect(other.target, keepalive=True)
    recorder = Recorder()
    stream = await channel.open(ROUTE, recorder)
    for _ in range(3):
        time.sleep(0.6)  # noqa: ASYNC251 - that is the point
        await asyncio.sleep(0.05)
    stream.send((messages.GET, b""))
    await other.says("count")
    assert not recorder.ends
    channel.close()


async def test_a_server_watches_the_streams_that_it_is_told_to(socket_path: str) -> None:
    server = Server()
    server.on_message = lambda stream, message: stream.watch()
    server.listener = await GrpcNetwork(TOKEN, WATCHFUL).listen(streams={ROUTE: server.accept}, unix_path=socket_path)
    async with peer("dial", server.unix) as watched, peer("dial", server.unix) as ignored:
        server.accepted[0].stream.watch()
        for process in (watched, ignored):
            process.signal(signal.SIGSTOP)
        assert "said nothing" in str(await server.accepted[0].recorder.ended())
        assert not server.accepted[1].stream.closed
    await server.listener.close()


async def test_messages_sent_just_before_a_peer_is_closed_arrive(other: Peer, socket_path: str) -> None:
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{socket_path}")
    stream = await channel.open(ROUTE, Recorder())
    for number in range(50_000):
        stream.send(release(number))
    stream.send((messages.GET, b""))
    channel.close()
    assert (await other.says("count"))[1] == "50001"
    assert (await other.says("closed"))[1] == "NoneType"
