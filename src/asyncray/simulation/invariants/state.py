"""The living components of a cluster, as the checks see them."""

from __future__ import annotations

from dataclasses import dataclass

from asyncray.control.actor_table import ActorRecord
from asyncray.control.service import ControlPlane
from asyncray.node.service import NodeManager
from asyncray.simulation.invariants.naming import node_id
from asyncray.worker.runtime import Runtime


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Of processes that live, be they frozen; what a dead process has left in memory is none of it."""

    control: ControlPlane | None
    nodes: list[NodeManager]
    runtimes: list[Runtime]
    """Of drivers and workers."""

    def nodes_by_id(self) -> dict[bytes, NodeManager]:
        return {node_id(node): node for node in self.nodes}

    def runtimes_by_id(self) -> dict[bytes, Runtime]:
        return {runtime.process_id: runtime for runtime in self.runtimes}


@dataclass(frozen=True, slots=True)
class Survivors:
    """What may be left when everything is over: actors that outlive their jobs, and what these may hold."""

    actors: frozenset[bytes]
    processes: frozenset[bytes]
    """Workers that host them: what their instances refer to is their own affair."""
    jobs: frozenset[bytes]
    """Theirs, and those of the drivers that live."""

    @classmethod
    def of(cls, state: ClusterState) -> Survivors:
        """While the control plane is dead nobody can tell which actors are detached: each counts as one."""
        drivers = {runtime.job_id for runtime in state.runtimes if runtime.role == "driver" and runtime.job_id}
        if state.control is None:
            hosts = [worker for node in state.nodes for worker in node.pool.workers.values() if worker.dedicated]
            actors = frozenset(actor_id for node in state.nodes for actor_id in node.actors.actors)
            jobs = {worker.job_id for worker in hosts if worker.job_id is not None}
            return cls(actors, frozenset(worker.process_id for worker in hosts), frozenset(drivers | jobs))
        records = detached(state.control)
        return cls(
            frozenset(record.actor_id for record in records),
            frozenset(record.process_id for record in records if record.process_id is not None),
            frozenset(drivers | {record.job_id for record in records}),
        )


def detached(control: ControlPlane) -> list[ActorRecord]:
    """The living actors that need no handle."""
    return [record for record in control.actors.table._living.values() if record.outlives_job]
