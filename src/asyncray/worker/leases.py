"""The leases of this process: workers that it has asked nodes for, uses, and gives back or loses."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from asyncray import messages
from asyncray.errors import NodeDiedError, SchedulingError
from asyncray.memory_shortage import MemoryShortage
from asyncray.messages import Address
from asyncray.worker.lease_use import LeaseUse, use_for
from asyncray.worker.node_link import NodeLink
from asyncray.worker.peers import PeerLink
from asyncray.worker.pipeline import Lease, Pipeline

if TYPE_CHECKING:
    from asyncray.worker.runtime import Runtime

_CAUSE_WAIT = 2.0
"""Seconds that a node may take to say why a worker ended, after its stream has."""


class Leases:
    """What the pipelines ask nodes for, and what comes of it. What happens to tasks, `Submitter` decides."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.held: dict[bytes, Lease] = {}
        self.by_worker: dict[bytes, Lease] = {}
        self.requests: dict[int, tuple[Pipeline, NodeLink, tuple[str, bool]]] = {}
        """Each with the task that it names: see `Lease.use`."""
        self._next_request = 0
        self.uses = LeaseUse(runtime.nodes)
        runtime.peers.on_lost.append(self._link_lost)
        runtime.peers.needed.append(self._workers)
        runtime.nodes.handlers |= {
            messages.LEASE_GRANTED: self._on_granted,
            messages.LEASE_SPILLED: self._on_spilled,
            messages.LEASE_FAILED: self._on_failed,
            messages.LEASE_RECLAIM: self._on_reclaim,
            messages.LEASE_LOST: self._on_lost,
        }
        runtime.nodes.on_lost.append(self._node_lost)

    def nodes_needed(self) -> set[str]:
        """Where this process has leases, or has asked for some."""
        return {lease.node for lease in self.held.values()} | {node.target for _, node, _ in self.requests.values()}

    def look(self) -> None:
        """Called from time to time: says what they are used for."""
        self.uses.look(self.held.values())

    def return_idle(self) -> None:
        """This process ends. A worker that is left with a lease is ended by its node, for nobody wants what it runs;
        one that only lies idle may own what others borrow."""
        for lease in list(self.held.values()):
            if not lease.in_flight:
                self.return_lease(lease)

    # ------------------------------------------------- what the pipelines ask for

    def request_leases(self, pipeline: Pipeline, count: int) -> None:
        node = self._runtime.nodes.own
        if node is None:  # not joined yet: `joined` asks again
            pipeline.requested -= count
            return
        if node.lost:
            self._runtime.loop.call_soon(self._refuse, pipeline, count)
            return
        place = pipeline.place
        if place is not None:
            node = self._runtime.nodes.other(place[1], place[0])
        for _ in range(count):
            self._request(pipeline, node, spilled=False)

    def _request(self, pipeline: Pipeline, node: NodeLink, *, spilled: bool) -> None:
        self._next_request += 1
        use = use_for(pipeline.queue[0]) if pipeline.queue else ("", True)
        self.requests[self._next_request] = (pipeline, node, use)
        node.send(messages.LEASE_REQUEST, self._next_request, pipeline.demand, self._runtime.job_id, spilled, *use)

    def _refuse(self, pipeline: Pipeline, count: int) -> None:
        for _ in range(count):
            pipeline.refused()
        while pipeline.queue:
            self._runtime.submitter.fail(
                pipeline.queue.popleft(), NodeDiedError("this process has lost its node manager")
            )

    def cancel_requests(self, pipeline: Pipeline) -> None:
        for number, (requester, node, _) in list(self.requests.items()):
            if requester is pipeline:
                del self.requests[number]
                pipeline.refused()
                node.send(messages.LEASE_CANCEL, number)

    def return_lease(self, lease: Lease) -> None:
        self._forget(lease)
        self._tell_node(lease)

    def _tell_node(self, lease: Lease) -> None:
        """The lease is over; if it is so already, the node heeds it not."""
        node = self._runtime.nodes.find(lease.node)
        if node is not None:
            node.send(messages.LEASE_RETURN, lease.lease_id)

    def _forget(self, lease: Lease) -> None:
        self.held.pop(lease.lease_id, None)
        if self.by_worker.get(lease.address[0]) is lease:
            del self.by_worker[lease.address[0]]

    def _workers(self) -> Container[bytes]:
        return self.by_worker

    # -------------------------------------------------------------- what nodes say

    def _on_granted(
        self, node: NodeLink, number: int, lease_id: bytes, address: Address, instances: dict[str, list[int]]
    ) -> None:
        request = self.requests.pop(number, None)
        if request is None:  # cancelled in the meantime
            node.send(messages.LEASE_RETURN, lease_id)
            return
        pipeline, _, use = request
        lease = Lease(lease_id, address, instances, node.target, pipeline, self._runtime.loop.time(), use)
        self.held[lease_id] = lease
        self.by_worker[address[0]] = lease
        link = self._runtime.peers.link(address)
        job = {} if link.leased else self._runtime.job
        link.leased = True
        link.send((messages.LEASED, self._runtime.job_id, job, instances))  # before the tasks, on the same stream
        pipeline.granted(lease, self._runtime.loop.time())

    def _on_spilled(self, node: NodeLink, number: int, target: str) -> None:
        pipeline, *_ = self.requests.pop(number, (None,))
        if pipeline is not None:
            self._request(pipeline, self._runtime.nodes.other(target), spilled=True)

    def _on_failed(self, node: NodeLink, number: int, reason: str) -> None:
        pipeline, *_ = self.requests.pop(number, (None,))
        if pipeline is not None:
            pipeline.refused()
            while pipeline.queue:
                self._runtime.submitter.fail(pipeline.queue.popleft(), SchedulingError(reason))

    def _on_reclaim(self, node: NodeLink, lease_id: bytes, drain: bool) -> None:
        lease = self.held.get(lease_id)
        if lease is not None:
            lease.pipeline.reclaim(lease, drain)

    # --------------------------------------------------------------------- losses

    def _link_lost(self, link: PeerLink, cause: str) -> None:
        lease = self.by_worker.get(link.process_id)
        if lease is not None and not lease.lost:
            lease.lost = True
            self._runtime.loop.call_later(_CAUSE_WAIT, self._give_up, lease, cause)

    def _give_up(self, lease: Lease, cause: str) -> None:
        """The node has not said that the worker died: it is merely out of reach."""
        if self.held.get(lease.lease_id) is lease:
            self._tell_node(lease)
            self._lose(lease, cause)

    def _on_lost(self, node: NodeLink, lease_id: bytes, cause: str, shortage: dict[str, Any] | None) -> None:
        lease = self.held.get(lease_id)
        if lease is not None:
            self._lose(lease, cause, MemoryShortage.from_wire(shortage) if shortage is not None else None)

    def _node_lost(self, node: NodeLink, cause: NodeDiedError) -> None:
        for number, (pipeline, asked, _) in list(self.requests.items()):
            if asked is node:
                del self.requests[number]
                if pipeline.place is not None and pipeline.place[1] == node.target:
                    pipeline.place = None
                pipeline.refused()
                self._runtime.submitter.touch(pipeline)
        for lease in list(self.held.values()):
            if lease.node == node.target:
                self._lose(lease, str(cause))

    def _lose(self, lease: Lease, cause: str, shortage: MemoryShortage | None = None) -> None:
        if self.held.get(lease.lease_id) is lease:
            lease.lost = True
            self._forget(lease)
            self._runtime.submitter.lost(lease, cause, shortage)
