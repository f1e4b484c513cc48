from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from asyncray import messages
from asyncray.config import Config
from asyncray.errors import NodeDiedError
from asyncray.worker.node_link import NodeLink, Nodes


async def test_a_request_that_another_node_sends_home_takes_the_link_that_is_there() -> None:
    """A second one would register the process again, which ends the first, and with it the worker."""
    spawned: list[str] = []

    def spawn(coroutine: Any, *, name: str) -> None:
        coroutine.close()
        spawned.append(name)

    runtime: Any = SimpleNamespace(stopping=False, spawn=spawn)
    nodes = Nodes(runtime)
    nodes.own = nodes._links["unix:/run/node"] = NodeLink(nodes, "unix:/run/node")
    nodes.own.address = "10.0.0.1:7000"
    assert nodes.other("10.0.0.1:7000") is nodes.own
    assert nodes.other("10.0.0.2:7000") is not nodes.own
    assert spawned == ["dial node 10.0.0.2:7000"]


class Stream:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed = False

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def close(self, error: Exception | None = None) -> None:
        self.closed = True


class Elsewhere:
    """A process that is linked with another node, and looks whether it needs it."""

    def __init__(self) -> None:
        self.needed: set[str] = set()
        submitter = SimpleNamespace(leases=SimpleNamespace(nodes_needed=lambda: self.needed))
        runtime: Any = SimpleNamespace(
            stopping=False, config=Config(), submitter=submitter, spawn=lambda coroutine, *, name: coroutine.close()
        )
        self.nodes = Nodes(runtime)
        self.lost: list[NodeLink] = []
        self.nodes.on_lost.append(lambda link, cause: self.lost.append(link))
        self.link = self.nodes.other("10.0.0.2:7000")
        self.stream: Any = Stream()
        channel: Any = Stream()
        self.link.opened(channel, self.stream)
        self._now = 0.0

    def wait(self) -> None:
        """For a while."""
        for _ in range(4):
            self._now += Config().link_idle_timeout
            self.nodes.sweep(self._now)

    def answer(self, number: int) -> None:
        self.link.on_message(self.stream, [messages.LEFT, number])


async def test_a_link_of_no_use_ends_once_the_node_has_everything_and_that_is_no_death() -> None:
    here = Elsewhere()
    here.link.send(messages.FREE, [b"key"])
    here.wait()
    assert here.stream.sent == [(messages.FREE, [b"key"]), (messages.LEAVE, 1)] and not here.stream.closed
    here.answer(1)
    assert here.stream.closed and here.nodes.all() == []
    here.link.on_close(here.stream, None)
    assert here.lost == [] and here.nodes.other("10.0.0.2:7000") is not here.link


async def test_a_link_that_is_needed_again_before_the_answer_stays() -> None:
    here = Elsewhere()
    here.wait()
    here.link.send(messages.LEASE_RETURN, b"lease")
    here.answer(1)
    assert not here.stream.closed and here.nodes.all() == [here.link]
    here.wait()
    here.answer(1)
    assert not here.stream.closed, "the answer to the first LEAVE says nothing of what was sent since"
    here.answer(2)
    assert here.stream.closed and here.nodes.all() == []


async def test_a_link_with_leases_or_requests_stays() -> None:
    here = Elsewhere()
    here.needed = {here.link.target}
    here.wait()
    assert here.stream.sent == []
    here.needed = set()
    number, _ = here.link.ask(messages.PROMOTE, b"key")
    here.wait()
    assert here.stream.sent == [(messages.PROMOTE, 1, b"key")]
    here.link.answered(number, True)
    here.wait()
    assert here.stream.sent[1:] == [(messages.LEAVE, 2)]


async def test_what_is_sent_while_a_node_is_dialled_goes_with_the_opening_and_the_rest_after_it() -> None:
    """A process that is sent on to another node asks it without waiting for a round trip more."""
    runtime: Any = SimpleNamespace(address=["me"], role="worker", pid=1, job_id=b"job", job={})
    nodes = Nodes(runtime)
    link = NodeLink(nodes, "10.0.0.2:7000")
    stream = Stream()

    class Channel:
        async def open(self, route: str, receiver: Any, *first: Any) -> Any:
            stream.sent += first
            link.send(messages.LEASE_CANCEL, 1)
            return stream

    async def connect(target: str) -> Any:
        link.send(messages.LEASE_REQUEST, 1)
        return Channel()

    runtime.platform = SimpleNamespace(network=SimpleNamespace(connect=connect))
    await nodes._open(link)
    kinds = [message[0] for message in stream.sent]
    assert kinds == [messages.HELLO, messages.REGISTER, messages.LEASE_REQUEST, messages.LEASE_CANCEL]


async def test_a_dial_that_fails_for_any_reason_loses_the_link() -> None:
    """Else what was asked of the node would wait for ever."""

    async def connect(target: str) -> Any:
        raise IndexError("an address without a port")

    network = SimpleNamespace(connect=connect)
    runtime: Any = SimpleNamespace(
        stopping=False,
        platform=SimpleNamespace(network=network),
        spawn=lambda coroutine, *, name: asyncio.get_running_loop().create_task(coroutine),
    )
    nodes = Nodes(runtime)
    link = nodes.other("10.0.0.2")
    async with asyncio.timeout(5):
        with pytest.raises(NodeDiedError):
            await link.request(messages.PROMOTE, b"key")
    assert link.lost and nodes.all() == []


async def test_the_error_of_one_request_keeps_nothing_of_another_that_the_same_node_has_not_answered() -> None:
    """An error keeps the frames in which it was raised, and the link may last as long as the process."""

    class Value:
        pass

    async def ask(value: Value) -> None:
        await here.link.request(messages.PROMOTE, b"key")

    here = Elsewhere()
    value = Value()
    left = weakref.ref(value)
    requests = [asyncio.create_task(ask(Value())), asyncio.create_task(ask(value))]
    del value
    await asyncio.sleep(0)
    here.link.fail(None)
    error, _ = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(error, NodeDiedError)
    del _, requests
    await asyncio.sleep(0)  # the loop itself has them for this turn
    gc.collect()
    assert left() is None
