"""Processes and machines that die, freeze, or are parted, and who notices when."""

from __future__ import annotations

import asyncio

import pytest

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import ConnectionFailed
from asyncray.simulation.network import Conditions
from asyncray.simulation.network.silence import kernel_deadline, watch_deadline

from ...rpc.endpoints import Recorder, number_of, release
from .laboratory import EXACT, REMOTE, Laboratory, simulated

SILENCE = "it said nothing for 5 s"
NO_ANSWER = "Connection timed out"


async def end_of(recorder: Recorder) -> Exception | None:
    """How a stream ends, however long it takes."""
    while not recorder.ends:
        recorder._changed.clear()
        await recorder._changed.wait()
    return recorder.ends[0]


# ---- death of a process


@simulated
async def test_what_a_process_sent_before_its_death_arrives_and_then_the_end(lab: Laboratory) -> None:
    server, stream, _ = await lab.stream()
    for number in range(10):
        lab.client.call(stream.send, release(number))
    lab.client.call(stream.flush)
    lab.client.call(stream.send, release(99))  # still in its memory
    start = lab.loop.time()
    lab.client.kill("a test")
    error = await server.last.recorder.ended()
    assert isinstance(error, ConnectionFailed)
    assert "was lost" in str(error)
    assert lab.loop.time() - start == pytest.approx(REMOTE)
    assert [number_of(message) for message in server.last.recorder.messages] == list(range(10))


@simulated
async def test_a_dead_process_neither_sends_nor_gets_anything(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    lab.server.call(server.last.stream.send, release(1))
    lab.server.call(server.last.stream.flush)
    lab.client.kill("a test")
    for late in (lambda: stream.send(release(2)), stream.flush, stream.close):
        lab.client.call(late)
    await server.last.recorder.ended()
    await asyncio.sleep(1)
    assert not recorder.messages
    assert not recorder.ends
    assert not server.last.recorder.messages


@simulated
async def test_all_connections_of_a_dead_process_end_and_are_forgotten(lab: Laboratory) -> None:
    server = await lab.serve()
    recorders = [Recorder() for _ in range(5)]
    for recorder in recorders:
        await lab.open(await lab.connect(server.tcp), recorder)
    lab.server.kill("a test")
    for recorder in recorders:
        assert isinstance(await recorder.ended(), ConnectionFailed)
    assert not lab.network._pairs


@simulated
async def test_a_process_that_dies_on_receipt_gets_nothing_more(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    server.last.recorder._on_message = lambda stream, message: lab.server.kill("a test")
    for number in range(5):
        lab.client.call(stream.send, release(number))
        lab.client.call(stream.flush)
    assert isinstance(await recorder.ended(), ConnectionFailed)
    assert len(server.last.recorder.messages) == 1


def test_who_waits_for_a_full_window_is_woken_by_the_death_of_the_reader() -> None:
    lab = Laboratory(Conditions(local=EXACT.local, remote=EXACT.remote, window=1000))

    async def run() -> None:
        _, stream, recorder = await lab.stream()
        lab.freeze(lab.server)
        for _ in range(3):
            lab.client.call(stream.send, (messages.RELEASE, bytes(900)))
            lab.client.call(stream.flush)
        waiting = [lab.client.spawn(stream.drained(), "waiting") for _ in range(2)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        assert stream.unsent
        lab.server.kill("a test")
        await asyncio.wait(waiting)
        assert waiting[1].exception() is None
        assert isinstance(await recorder.ended(), ConnectionFailed)

    lab.run(run())


# ---- death of a machine


@simulated
async def test_a_dead_machine_is_silent_until_the_kernel_gives_up(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    heard_at = lab.loop.time()
    await asyncio.sleep(14)
    lab.network.host_died(lab.server.host)
    lab.server.kill("its machine died")
    lab.client.call(stream.send, release(1))
    error = await end_of(recorder)
    assert isinstance(error, ConnectionFailed)
    assert NO_ANSWER in str(error)
    assert lab.loop.time() - heard_at == pytest.approx(10 + 30), "the question after 10 s was answered"
    assert not server.last.recorder.messages


@simulated
async def test_a_dead_machine_is_silent_until_a_watcher_gives_up(lab: Laboratory) -> None:
    _, _, recorder = await lab.stream(keepalive=True)
    start = lab.loop.time()
    await asyncio.sleep(100)
    lab.network.host_died(lab.server.host)
    lab.server.kill("its machine died")
    error = await end_of(recorder)
    assert SILENCE in str(error)
    assert 4 < lab.loop.time() - start - 100 <= 7
    assert not lab.network._pairs


@simulated
async def test_nobody_connects_to_a_dead_machine(lab: Laboratory) -> None:
    server = await lab.serve()
    lab.network.host_died(lab.server.host)
    lab.server.kill("its machine died")
    start = lab.loop.time()
    with pytest.raises(ConnectionFailed, match=f"{server.tcp} did not answer within 2.5 s"):
        await lab.connect(server.tcp, timeout=2.5)
    assert lab.loop.time() - start == pytest.approx(2.5)


# ---- frozen processes


@simulated
async def test_a_frozen_process_gets_everything_when_it_is_thawed(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    lab.freeze(lab.server)
    for number in range(10):
        lab.client.call(stream.send, release(number))
        await asyncio.sleep(100)
    assert not server.last.recorder.messages
    lab.thaw(lab.server)
    await server.last.recorder.received(10)
    assert [number_of(message) for message in server.last.recorder.messages] == list(range(10))
    assert not recorder.ends, "nobody watches it"


@simulated
async def test_a_connection_to_a_frozen_listener_is_made_but_nothing_is_opened(lab: Laboratory) -> None:
    server = await lab.serve()
    lab.freeze(lab.server)
    channel = await lab.connect(server.tcp)
    opening = lab.client.spawn(lab.open(channel, Recorder()), "opening")
    await asyncio.sleep(100)
    assert not opening.done()
    lab.thaw(lab.server)
    await opening


@simulated
async def test_a_watcher_takes_a_frozen_process_for_dead(lab: Laboratory) -> None:
    server, _, recorder = await lab.stream(keepalive=True)
    watched_from = lab.loop.time() - 2 * REMOTE  # a round trip was needed to open the stream
    lab.freeze(lab.server)
    error = await recorder.ended()
    assert SILENCE in str(error)
    assert lab.loop.time() == pytest.approx(watched_from + 6), "the sixth tick is the first after more than 5 s"
    lab.thaw(lab.server)
    assert isinstance(await server.last.recorder.ended(), ConnectionFailed)


@simulated
async def test_a_watch_that_begins_while_the_peer_is_frozen_counts_from_then(lab: Laboratory) -> None:
    server = await lab.serve()
    lab.freeze(lab.server)
    await asyncio.sleep(50)
    channel = await lab.connect(server.tcp, keepalive=True)
    start = lab.loop.time()
    with pytest.raises(ConnectionFailed, match=SILENCE):
        await lab.open(channel, Recorder())
    assert lab.loop.time() - start == pytest.approx(6)


@simulated
async def test_a_process_that_is_thawed_in_time_is_alive(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream(keepalive=True)
    lab.server.call(server.last.stream.watch)
    for _ in range(5):
        lab.freeze(lab.server)
        await asyncio.sleep(3)
        lab.thaw(lab.server)
        await asyncio.sleep(0.1)
    assert not recorder.ends
    lab.client.call(stream.send, release(1))
    await server.last.recorder.received(1)


@simulated
async def test_a_watcher_that_was_frozen_itself_takes_nobody_for_dead(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream(keepalive=True)
    lab.freeze(lab.server)
    lab.freeze(lab.client)
    await asyncio.sleep(100)
    lab.thaw(lab.client)
    await asyncio.sleep(1)
    lab.thaw(lab.server)
    await asyncio.sleep(100)
    assert not recorder.ends
    lab.client.call(stream.send, release(1))
    await server.last.recorder.received(1)


# ---- partitions


@simulated
async def test_what_a_partition_held_arrives_in_order_after_it_is_healed(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    lab.client.call(stream.send, release(0))
    lab.client.call(stream.flush)
    lab.network.partition(lab.client.host, lab.server.host)
    for number in range(1, 10):
        lab.client.call(stream.send, release(number))
        await asyncio.sleep(0.1)
    assert not server.last.recorder.messages, "what is under way is held, too"
    start = lab.loop.time()
    lab.network.heal(lab.client.host, lab.server.host)
    await server.last.recorder.received(10)
    assert lab.loop.time() - start == pytest.approx(REMOTE)
    assert [number_of(message) for message in server.last.recorder.messages] == list(range(10))
    await asyncio.sleep(1000)
    assert not recorder.ends


@simulated
async def test_a_one_way_partition_lets_the_other_direction_through(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    lab.network.partition(lab.client.host, lab.server.host, both=False)
    lab.client.call(stream.send, release(1))
    lab.server.call(server.last.stream.send, release(2))
    await recorder.received(1)
    await asyncio.sleep(1)
    assert not server.last.recorder.messages
    lab.network.heal_all()
    await server.last.recorder.received(1)


@simulated
async def test_a_partition_does_not_concern_other_machines(lab: Laboratory) -> None:
    server, stream, _ = await lab.stream()
    lab.network.partition(lab.client.host, "10.0.0.99")
    lab.client.call(stream.send, release(1))
    await server.last.recorder.received(1)
    with pytest.raises(ValueError, match="itself"):
        lab.network.partition(lab.client.host, lab.client.host)


@pytest.mark.parametrize("both", [True, False])
@simulated
async def test_both_kernels_give_up_a_parted_connection_after_30_seconds(lab: Laboratory, both: bool) -> None:
    server, _, recorder = await lab.stream()
    start = lab.loop.time()
    lab.network.partition(lab.client.host, lab.server.host, both=both)
    for recorded in (recorder, server.last.recorder):
        error = await end_of(recorded)
        assert isinstance(error, ConnectionFailed)
        assert NO_ANSWER in str(error)
    assert lab.loop.time() - start == pytest.approx(30, abs=2 * REMOTE)


@simulated
async def test_what_was_held_of_a_connection_that_one_side_gave_up_never_arrives(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream(keepalive=True)
    lab.network.partition(lab.client.host, lab.server.host)
    lab.client.call(stream.send, release(1))
    assert SILENCE in str(await recorder.ended())
    lab.network.heal(lab.client.host, lab.server.host)
    error = await server.last.recorder.ended()
    assert isinstance(error, ConnectionFailed), "it learns that the other side gave up"
    assert not server.last.recorder.messages
    assert not lab.network._pairs


@simulated
async def test_a_process_that_dies_behind_a_partition_is_silent_until_it_is_healed(lab: Laboratory) -> None:
    server, stream, _ = await lab.stream()
    lab.network.partition(lab.client.host, lab.server.host)
    lab.client.call(stream.send, release(1))
    lab.client.call(stream.flush)
    lab.client.kill("a test")
    await asyncio.sleep(10)
    assert not server.last.recorder.ends
    lab.network.heal_all()
    assert isinstance(await server.last.recorder.ended(), ConnectionFailed)
    assert len(server.last.recorder.messages) == 1


@simulated
async def test_a_dial_through_a_partition_times_out_or_succeeds_once_it_is_healed(lab: Laboratory) -> None:
    server = await lab.serve()
    lab.network.partition(lab.server.host, lab.client.host, both=False)
    with pytest.raises(ConnectionFailed, match="did not answer within 10 s"):
        await lab.connect(server.tcp)
    dialling = lab.client.spawn(lab.endpoints[lab.client].connect(server.tcp), "dialling")
    start = lab.loop.time()
    await asyncio.sleep(2)
    lab.network.heal_all()
    await dialling
    assert lab.loop.time() - start == pytest.approx(3 + 2 * REMOTE), "kernels ask again after 1, 3, 7 s"


@simulated
async def test_a_partition_that_begins_during_a_dial_holds_what_follows(lab: Laboratory) -> None:
    server = await lab.serve()
    dialling = lab.client.spawn(lab.endpoints[lab.client].connect(server.tcp), "dialling")
    await asyncio.sleep(0.5 * REMOTE)
    lab.network.partition(lab.client.host, lab.server.host)
    channel = await dialling
    opening = lab.client.spawn(lab.open(channel, Recorder()), "opening")
    await asyncio.sleep(1)
    assert not server.accepted
    lab.network.heal_all()
    await opening


@simulated
async def test_a_cut_ends_connections_at_both_ends_and_new_ones_work(lab: Laboratory) -> None:
    server, stream, recorder = await lab.stream()
    lab.client.call(stream.send, release(1))
    lab.client.call(stream.flush)
    lab.network.cut(lab.server.host, lab.client.host)
    for recorded in (recorder, server.last.recorder):
        error = await recorded.ended()
        assert isinstance(error, ConnectionFailed)
        assert "reset by peer" in str(error)
    assert not server.last.recorder.messages
    await lab.open(await lab.connect(server.tcp), Recorder())
    lab.network.cut(lab.server.host, "10.0.0.99")
    await asyncio.sleep(1)
    assert not server.last.stream.closed


# ---- when silence is noticed


@pytest.mark.parametrize(
    ("heard_at", "fault_at", "expected"),
    [
        (0.0, 0.0, 6.0),  # ticks 1 to 6 are silent
        (0.0, 1.5, 6.0),  # nothing was asked at tick 1
        (0.0, 2.5, 8.0),  # tick 2 asked, and had an answer
        (0.0, 3.5, 8.0),
        (2.7, 2.8, 8.0),
        (2.7, 4.5, 10.0),
        (3.0, 0.0, 9.0),  # heard after the fault began: something was under way
    ],
)
def test_a_watcher_gives_up_at_the_tick_at_which_the_real_one_does(
    heard_at: float, fault_at: float, expected: float
) -> None:
    assert watch_deadline(100.0, 100 + heard_at, 100 + fault_at, 1.0, 5.0) == pytest.approx(100 + expected)


def test_a_watcher_counts_ticks_as_the_real_one_does() -> None:
    for interval, timeout in ((0.05, 0.4), (0.1, 0.3), (1.0, 5.0), (0.3, 1.0), (3.0, 1.0)):
        config = Config(ping_interval=interval, node_silence_timeout=timeout)
        ticks = 1
        while not ticks * config.ping_interval > config.node_silence_timeout:
            ticks += 1
        assert watch_deadline(0.0, 0.0, 0.0, interval, timeout) == pytest.approx(ticks * interval)


def test_the_kernel_gives_up_30_seconds_after_the_last_answer() -> None:
    assert kernel_deadline(5.0, 5.0, Conditions()) == 35.0
    assert kernel_deadline(5.0, 26.0, Conditions()) == 55.0
