"""The network of a simulation: in memory, in virtual time, with latency, bandwidth, windows and faults."""

from asyncray.simulation.network.bulk import SimulatedBulk
from asyncray.simulation.network.conditions import Conditions, Latency
from asyncray.simulation.network.network import SimulatedNetwork
from asyncray.simulation.network.traffic import Traffic

__all__ = ["Conditions", "Latency", "SimulatedBulk", "SimulatedNetwork", "Traffic"]
