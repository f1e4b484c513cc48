from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
