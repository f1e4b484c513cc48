"""Clusters for tests.

`Cluster` starts one of real processes on this machine, with as many nodes as a test wants; `docs/testing.md` shows how
to use it. `SimCluster` is a whole one in one process, on virtual time, with faults from a seed, for which
`docs/simulation.md` is the guide; it needs `pip install asyncray[simulation]`.
"""

from typing import TYPE_CHECKING

from asyncray.lazy import attach

if TYPE_CHECKING:
    from asyncray.simulation.cluster import SimCluster as SimCluster
    from asyncray.simulation.faults import PROFILES as PROFILES
    from asyncray.simulation.faults import Profile as Profile
    from asyncray.simulation.faults import faults as faults
    from asyncray.simulation.forbidden import ForbiddenInSimulation as ForbiddenInSimulation
    from asyncray.simulation.loop import Deadlock as Deadlock
    from asyncray.simulation.loop import HorizonReached as HorizonReached
    from asyncray.simulation.loop import Livelock as Livelock
    from asyncray.simulation.network import Conditions as Conditions
    from asyncray.simulation.network import Latency as Latency
    from asyncray.simulation.node import SimNode as SimNode
    from asyncray.simulation.threads import sleep as sleep
    from asyncray.simulation.world import SimulationFailed as SimulationFailed
    from asyncray.testing.cluster import Cluster as Cluster
    from asyncray.testing.cluster import Node as Node
    from asyncray.testing.simulated import simulated as simulated

_HOMES = {
    "PROFILES": "asyncray.simulation.faults",
    "Cluster": "asyncray.testing.cluster",
    "Conditions": "asyncray.simulation.network",
    "Deadlock": "asyncray.simulation.loop",
    "ForbiddenInSimulation": "asyncray.simulation.forbidden",
    "HorizonReached": "asyncray.simulation.loop",
    "Latency": "asyncray.simulation.network",
    "Livelock": "asyncray.simulation.loop",
    "Node": "asyncray.testing.cluster",
    "Profile": "asyncray.simulation.faults",
    "SimCluster": "asyncray.simulation.cluster",
    "SimNode": "asyncray.simulation.node",
    "SimulationFailed": "asyncray.simulation.world",
    "faults": "asyncray.simulation.faults",
    "simulated": "asyncray.testing.simulated",
    "sleep": "asyncray.simulation.threads",
}

__getattr__, __dir__, __all__ = attach(globals(), _HOMES)
