"""Whatever goes wrong: what arrives on a connection is the beginning of what was sent, in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncray import messages
from asyncray.rpc.stream import FrameStream
from asyncray.simulation.network import Conditions, Latency
from asyncray.simulation.process import Process

from ...rpc.endpoints import Recorder
from .laboratory import Laboratory

CLIENTS = 3

MESSAGES = ("send", "send", "send", "answer", "answer", "wait", "wait", "drain")
FAULTS = ("part", "part one way", "heal", "cut", "freeze", "thaw", "freeze server", "thaw server")
ENDS = ("close", "kill", "lose machine")

Step = tuple[str, int, int]
"""What happens, to which client's connection, and how much of it."""

steps = st.tuples(
    st.sampled_from((*MESSAGES, *FAULTS, *ENDS)),
    st.integers(0, CLIENTS - 1),
    st.integers(0, 3000),
)


@dataclass
class Side:
    """One end of a stream, what it has sent, and what it has got."""

    process: Process
    stream: FrameStream
    recorder: Recorder
    sent: list[int] = field(default_factory=list)

    def send(self, size: int) -> None:
        if self.process.runs and not self.stream.closed:
            self.sent.append(len(self.sent))
            self.process.call(self.stream.send, (messages.BORROW, bytes(size), self.sent[-1]))

    @property
    def got(self) -> list[int]:
        return [message[2] for message in self.recorder.messages]


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40), st.integers(0, 3))
def test_what_arrives_is_a_prefix_of_what_was_sent(plan: list[Step], seed: int) -> None:
    assert story(plan, seed) == story(plan, seed), "the same twice"


def story(plan: list[Step], seed: int) -> list[tuple[float, str, str, bytes]]:
    lab = Laboratory(Conditions(remote=Latency(0.001, 0.01), bandwidth=1e6, window=4000), seed=seed)
    log: list[tuple[float, str, str, bytes]] = []
    lab.network.watchers.append(
        lambda time, source, target, _, body: log.append((time, source.name, target.name, body))
    )
    lab.run(live(lab, plan))
    return log


async def live(lab: Laboratory, plan: list[Step]) -> None:
    server = await lab.serve()
    near: list[Side] = []
    far: list[Side] = []
    for number in range(CLIENTS):
        client = lab.process(f"worker {number}", f"10.0.1.{number % 2}")
        channel = await lab.connect(server.tcp, client, keepalive=number == 1)
        recorder = Recorder()
        stream = await lab.open(channel, recorder, process=client)
        near.append(Side(client, stream, recorder))
        far.append(Side(lab.server, server.last.stream, server.last.recorder))
    for what, number, amount in plan:
        await take(lab, what, near[number], far[number], amount)
    lab.network.heal_all()
    for process in lab.processes:
        lab.thaw(process)
    await asyncio.sleep(100)
    for ends in zip(near, far, strict=True):
        for source, target in (ends, ends[::-1]):
            assert target.got == source.sent[: len(target.got)]
            if not source.stream.closed and not target.stream.closed and source.process.runs and target.process.runs:
                assert target.got == source.sent, "nothing is lost while the connection lives"
            if target.process.runs:
                assert len(target.recorder.ends) == target.stream.closed
                assert target.stream.closed or source.process.runs, "a death is noticed"


async def take(lab: Laboratory, what: str, near: Side, far: Side, amount: int) -> None:
    host, client = lab.server.host, near.process
    match what:
        case "send":
            near.send(amount)
        case "answer":
            far.send(amount)
        case "wait":
            await asyncio.sleep(amount / 1000 * (amount % 7))
        case "part":
            lab.network.partition(client.host, host)
        case "part one way":
            lab.network.partition(*((client.host, host) if amount % 2 else (host, client.host)), both=False)
        case "heal":
            lab.network.heal(client.host, host)
        case "cut":
            lab.network.cut(client.host, host)
        case "freeze":
            lab.freeze(client)
        case "thaw":
            lab.thaw(client)
        case "kill":
            client.kill("a test")
        case "close" if client.runs:
            client.call(near.stream.close)
        case "drain" if client.runs:
            client.spawn(near.stream.drained(), "draining")
        case "freeze server":
            lab.freeze(lab.server)
        case "thaw server":
            lab.thaw(lab.server)
        case "lose machine":
            lab.network.host_died(client.host)
            for process in lab.processes:
                if process.host == client.host:
                    process.kill("its machine died")
