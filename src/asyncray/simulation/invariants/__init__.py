"""What must be true of a simulated cluster: `consistency` at any moment, `quiescence` once everything is over.

Each file here knows one component's tables: what must agree in them always (`inconsistencies`), and what must not be
left in them in the end (`leftovers`). `agreement.py` compares the components with each other.
"""

from asyncray.simulation.invariants.checks import consistency, quiescence
from asyncray.simulation.invariants.state import ClusterState

__all__ = ["ClusterState", "consistency", "quiescence"]
