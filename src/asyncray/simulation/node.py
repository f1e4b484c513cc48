"""A machine of a simulated cluster, with its node manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asyncray.node.control_link import NodeIdentity
from asyncray.node.service import NodeManager, NodeSettings
from asyncray.simulation.launcher import Machine, SimulatedLauncher
from asyncray.simulation.process import Process
from asyncray.simulation.world import World


@dataclass(slots=True, eq=False)
class SimNode:
    """A machine of the cluster, and its node manager."""

    process: Process
    node_id: bytes
    manager: NodeManager
    workers: dict[bytes, Process] = field(default_factory=dict)
    """The living ones, by their process ids."""
    started: int = 0
    """How many workers it ever had."""

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def host(self) -> str:
        return self.process.host


def new_node(
    world: World,
    machine: Machine,
    process: Process,
    *,
    control: str,
    is_head: bool,
    resources: Mapping[str, int],
    labels: Mapping[str, str],
    memory_threshold: float,
) -> SimNode:
    """Made in the process that it will run in. `control`: the address of the control plane; `resources` in units."""
    platform = world.platform(process)
    node_id = platform.entropy(16)
    directory = socket_dir(process)
    specification = {
        "node_target": f"unix:{directory}/node",
        "control_target": control,
        "node_id": node_id,
        "socket_dir": directory,
        "host": process.host,
        "node_name": process.name,
    }
    settings = NodeSettings(
        identity=NodeIdentity(node_id, process.name, process.pid, directory, dict(labels), is_head),
        resources=resources,
        control_target=control,
        unix_path=f"{directory}/node",
        host=process.host,
        worker_specification=specification,
        memory_threshold=memory_threshold,
    )
    manager = NodeManager(settings, platform, SimulatedLauncher(machine, process), world.config)
    return SimNode(process, node_id, manager)


def socket_dir(node: Process) -> str:
    """Of a node manager's process."""
    return f"/run/{node.name.replace(' ', '-')}"
