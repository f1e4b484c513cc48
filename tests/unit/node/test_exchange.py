"""Streams between nodes: one link for each pair, and DROPs that arrive whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from asyncray import messages
from asyncray.config import DEFAULT, Config
from asyncray.node import exchange as exchange_module
from asyncray.node.exchange import ROUTE, ExchangeLink
from asyncray.simulation.cluster import SimCluster
from asyncray.simulation.network.traffic import kinds_of
from asyncray.simulation.node import SimNode
from asyncray.simulation.process import Process

KEY = b"k" * 36

Program = Callable[[SimCluster, SimNode, SimNode], Coroutine[Any, Any, None]]


def run(program: Program, config: Config = DEFAULT) -> SimCluster:
    async def main(cluster: SimCluster) -> None:
        one, other = [await cluster.add_node(num_cpus=0) for _ in range(2)]
        await program(cluster, one, other)

    cluster = SimCluster(seed=1, config=config)
    cluster.run(main)
    return cluster


def link(source: SimNode, target: SimNode) -> ExchangeLink:
    return source.process.call(source.manager.exchange.link, target.node_id, target.manager.address)


def drop(source: SimNode, target: SimNode) -> None:
    exchange = source.manager.exchange
    source.process.call(lambda: exchange.drop(target.node_id, target.manager.address, [KEY], freed=True))


def dropped(node: SimNode) -> list[int]:
    """The sequences of the DROPs that arrive there, from now on."""
    sequences: list[int] = []
    original = node.manager.exchange.handlers[messages.DROP]

    def handler(link: ExchangeLink, sequence: int, *fields: Any) -> None:
        sequences.append(sequence)
        original(link, sequence, *fields)

    node.manager.exchange.handlers[messages.DROP] = handler
    return sequences


def test_both_may_dial_at_the_same_time_and_have_one_link() -> None:
    async def program(cluster: SimCluster, one: SimNode, other: SimNode) -> None:
        first, second = link(one, other), link(other, one)
        await asyncio.sleep(1)
        assert link(one, other) is first and link(other, one) is second
        assert len(first.streams) == len(second.streams) == 2 and not first.lost
        cluster.cut(one, other)
        await asyncio.sleep(1)
        assert first.lost and second.lost
        assert one.manager.exchange.find(other.node_id) is None

    run(program)


def test_a_link_without_work_is_closed_by_who_has_dialled() -> None:
    async def program(cluster: SimCluster, one: SimNode, other: SimNode) -> None:
        first = link(one, other)
        await asyncio.sleep(1)
        assert other.manager.exchange.find(one.node_id) is not None
        await asyncio.sleep(25)
        assert first.lost
        assert other.manager.exchange.find(one.node_id) is None

    run(program, replace(DEFAULT, exchange_idle_timeout=10))


@pytest.mark.parametrize("trouble", ["cut", "partition", "nothing"])
def test_a_drop_arrives_and_is_acknowledged_whatever_happens_to_the_link(trouble: str) -> None:
    async def program(cluster: SimCluster, one: SimNode, other: SimNode) -> None:
        arrived = dropped(other)
        link(one, other)
        await asyncio.sleep(1)
        if trouble == "partition":
            cluster.partition(one, other)
        drop(one, other)
        if trouble == "cut":
            await asyncio.sleep(0)
            cluster.cut(one, other)
        await asyncio.sleep(20)
        assert arrived == ([] if trouble == "partition" else [1])
        cluster.heal()
        await asyncio.sleep(40)
        assert set(arrived) == {1}
        assert one.manager.exchange._untold == {}

    run(program)


def test_a_node_that_nobody_knows_is_not_dialled_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "_MOST_REDIALS", 3)

    async def program(cluster: SimCluster, one: SimNode, other: SimNode) -> None:
        there = one.manager.exchange
        one.process.call(lambda: there.drop(b"?" * 16, "10.9.9.9:1", [KEY], freed=True))
        assert there._untold
        await asyncio.sleep(60)
        assert there._untold == {} and there._links == {}

    run(program)


def test_a_dead_node_is_told_nothing_and_not_dialled() -> None:
    async def program(cluster: SimCluster, one: SimNode, other: SimNode) -> None:
        heard: list[str] = []

        def watcher(time: float, source: Process, target: Process, route: str, body: bytes) -> None:
            if route == ROUTE:
                heard.extend(kinds_of(body))

        cluster.world.network.watchers.append(watcher)
        cluster.partition(one, other)
        drop(one, other)
        address = other.manager.address
        await cluster.kill_node(other)
        await asyncio.sleep(10)
        exchange = one.manager.exchange
        assert exchange.is_dead(other.node_id) and exchange._untold == {} and exchange._links == {}
        one.process.call(lambda: exchange.drop(other.node_id, address, [KEY], freed=True))
        assert one.process.call(exchange.link, other.node_id, address).lost
        assert exchange._untold == {} and exchange._links == {} and heard == []

    run(program)


def test_what_does_not_belong_on_the_stream_closes_it() -> None:
    async def program(cluster: SimCluster, one: SimNode, other: SimNode) -> None:
        first = link(one, other)
        await asyncio.sleep(1)
        one.process.call(first.send, messages.FREE, [KEY])
        await asyncio.sleep(1)
        assert first.lost

    run(program)
