"""Clusters for tests: `SimCluster` is a whole one in one process, on virtual time, with faults from a seed.

Needs `pip install asyncray[simulation]`. `docs/simulation.md` shows how to test with it.
"""

from asyncray.simulation.cluster import SimCluster as SimCluster
from asyncray.simulation.cluster import SimNode as SimNode
from asyncray.simulation.faults import PROFILES as PROFILES
from asyncray.simulation.faults import Profile as Profile
from asyncray.simulation.faults import faults as faults
from asyncray.simulation.forbidden import ForbiddenInSimulation as ForbiddenInSimulation
from asyncray.simulation.loop import Deadlock as Deadlock
from asyncray.simulation.loop import HorizonReached as HorizonReached
from asyncray.simulation.loop import Livelock as Livelock
from asyncray.simulation.network import Conditions as Conditions
from asyncray.simulation.network import Latency as Latency
from asyncray.simulation.threads import sleep as sleep
from asyncray.simulation.world import SimulationFailed as SimulationFailed
from asyncray.testing.simulated import simulated as simulated
