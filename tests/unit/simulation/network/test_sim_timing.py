"""When things arrive, to the microsecond; and that a seed decides it all."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from asyncray import messages
from asyncray.rpc.stream import FrameStream
from asyncray.simulation.network import Conditions, Latency
from asyncray.simulation.network.traffic import kinds_of
from asyncray.simulation.process import Process, current_process

from ...rpc import test_unary_calls
from ...rpc.endpoints import ROUTE, Recorder, release
from .laboratory import EXACT, REMOTE, Laboratory, simulated

Log = list[tuple[float, str, str, str, bytes]]


def logged(lab: Laboratory) -> Log:
    """What will have arrived."""
    log: Log = []

    def watch(time: float, source: Process, target: Process, route: str, body: bytes) -> None:
        assert current_process.get() is target
        log.append((time, source.name, target.name, route, body))

    lab.network.watchers.append(watch)
    return log


@simulated
async def test_a_message_takes_the_latency(lab: Laboratory) -> None:
    server, stream, _ = await lab.stream()
    start = lab.loop.time()
    lab.client.call(stream.send, release(1))
    await server.last.recorder.received(1)
    assert lab.loop.time() - start == pytest.approx(REMOTE)


@simulated
async def test_receivers_run_in_their_own_process(lab: Laboratory) -> None:
    server, stream, _ = await lab.stream()
    seen: list[Process | None] = []
    server.last.recorder._on_message = lambda stream, message: seen.append(current_process.get())
    lab.client.call(stream.send, release(1))
    await server.last.recorder.received(1)
    assert seen == [lab.server]


def test_large_messages_take_the_time_that_the_bandwidth_gives_them() -> None:
    lab = Laboratory(Conditions(local=EXACT.local, remote=EXACT.remote, bandwidth=1e6))

    async def run() -> None:
        server, stream, _ = await lab.stream()
        times: list[float] = []
        server.last.recorder._on_message = lambda stream, message: times.append(lab.loop.time() - start)
        start = lab.loop.time()
        for _ in range(3):
            lab.client.call(stream.send, (messages.RELEASE, bytes(500_000)))
            lab.client.call(stream.flush)
        await server.last.recorder.received(3)
        assert times == pytest.approx([0.51, 1.01, 1.51], abs=1e-3)

    lab.run(run())


def test_a_full_window_is_refilled_a_round_trip_later() -> None:
    lab = Laboratory(Conditions(local=EXACT.local, remote=EXACT.remote, bandwidth=1e12, window=1500))

    async def run() -> None:
        server, stream, _ = await lab.stream()
        times: list[float] = []
        server.last.recorder._on_message = lambda stream, message: times.append(lab.loop.time() - start)
        start = lab.loop.time()
        for _ in range(3):
            lab.client.call(stream.send, (messages.RELEASE, bytes(1000)))
            lab.client.call(stream.flush)
        assert 2000 < stream.unsent < 2020
        await server.last.recorder.received(3)
        assert times == pytest.approx([0.01, 0.03, 0.05])
        await asyncio.sleep(1)
        assert stream.unsent == 0

    lab.run(run())


def test_an_idle_network_takes_no_events() -> None:
    lab = Laboratory()

    async def run() -> None:
        server, stream, _ = await lab.stream(keepalive=True)
        lab.server.call(server.last.stream.watch)
        before = lab.loop.callbacks
        await asyncio.sleep(10_000)
        assert lab.loop.callbacks - before < 5
        assert not stream.closed

    lab.run(run())


@pytest.mark.parametrize("latency", [Latency(0.1), Latency(0.1, 0.5), Latency(0.1, 0.5, 2.0)])
def test_latencies_are_at_least_their_minimum(latency: Latency) -> None:
    numbers = random.Random(1)
    samples = sorted(latency.sample(numbers) for _ in range(2001))
    assert samples[0] >= 0.1
    middle = {0.0: 0.1 + 0.5 * 0.693, 2.0: 0.6}[latency.sigma] if latency.tail else 0.1
    assert samples[1000] == pytest.approx(middle, rel=0.15)


def test_conditions_are_validated() -> None:
    with pytest.raises(ValueError, match="tail"):
        Latency(0.1, -1)
    with pytest.raises(ValueError, match="window"):
        Conditions(window=0)


def conversation(seed: int) -> tuple[Log, dict[Any, Any]]:
    """What several processes say to each other, with faults in between."""
    lab = Laboratory(Conditions(remote=Latency(0.001, 0.01, 1.0), local=Latency(0.0001, 0.001)), seed=seed)
    log = logged(lab)

    def answer(stream: FrameStream, message: list[Any]) -> None:
        if message[1][-1] % 3:
            stream.send(release(message[1][-1] - 1))

    async def run() -> None:
        server = await lab.serve(services=[test_unary_calls.Control()])
        server.on_message = answer
        clients = [lab.process(f"worker {number}", f"10.0.1.{number % 2}") for number in range(5)]
        streams = []
        for client in clients:
            channel = await lab.connect(server.tcp, client, keepalive=True)
            recorder = Recorder(answer)
            streams.append(await lab.open(channel, recorder, release(100), process=client))
        lab.network.partition("10.0.1.0", lab.server.host, both=False)
        for number, (client, stream) in enumerate(zip(clients, streams, strict=True)):
            client.call(stream.send, release(50 + number))
        await asyncio.sleep(1)
        lab.network.heal_all()
        clients[0].kill("a test")
        await asyncio.sleep(20)

    lab.run(run())
    return log, lab.network.traffic


def test_a_seed_decides_what_arrives_when() -> None:
    first, again, other = conversation(1), conversation(1), conversation(2)
    assert len(first[0]) > 10
    assert first == again
    assert first != other


@simulated
async def test_what_arrives_is_counted_by_roles_and_kinds(lab: Laboratory) -> None:
    lab.network.detailed = True
    log = logged(lab)
    server, stream, recorder = await lab.stream()
    for message in (release(1), release(2), (messages.BORROW, b"", 3)):
        lab.client.call(stream.send, message)
    await server.last.recorder.received(3)
    lab.server.call(server.last.stream.send, (messages.HANDBACK, []))
    await recorder.received(1)
    assert lab.network.counters == {
        ("driver", "node", "RELEASE"): 2,
        ("driver", "node", "BORROW"): 1,
        ("node", "driver", "HANDBACK"): 1,
    }
    traffic = lab.network.traffic["driver", "node"]
    assert (traffic.frames, traffic.calls, traffic.bytes) == (1, 0, len(log[0][4]))
    assert [entry[1:4] for entry in log] == [("driver 1", "node 1", ROUTE), ("node 1", "driver 1", ROUTE)]


@simulated
async def test_calls_are_counted_by_their_routes(lab: Laboratory) -> None:
    log = logged(lab)
    server = await lab.serve(services=[test_unary_calls.Control()])
    channel = await lab.connect(server.tcp)
    await lab.within(lab.client, channel.stub(test_unary_calls.ControlStub).kv_get(test_unary_calls.KvKey(key=b"key")))
    route = "/asyncray.Control/KvGet"
    assert lab.network.counters == {("driver", "node", route): 1, ("node", "driver", route): 1}
    assert [entry[1:4] for entry in log] == [("driver 1", "node 1", route), ("node 1", "driver 1", route)]
    assert b"key" in log[0][4]


def test_what_is_no_message_is_called_malformed() -> None:
    assert kinds_of(b"\x92\x92\x01\x02\x91\xcd\x27\x0f") == ["HELLO", "malformed"]
    assert kinds_of(b"\xc1") == ["malformed"]
    assert kinds_of(b"\x90") == []
