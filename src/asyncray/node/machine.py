"""What this machine has: the default totals of a node's resources."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

import psutil

from asyncray.errors import AsyncrayError
from asyncray.resources import Resources, to_units

_STORE_SHARE: Final = 0.3
"""Share of the machine's memory that the object store may grow to."""


def detect_resources(
    num_cpus: float | None,
    num_gpus: float | None,
    memory: int | None,
    object_store_memory: int | None,
    custom: Mapping[str, float],
) -> Resources:
    """Totals of a node, in units of 0.0001: what the user says, else what the machine has.

    Raises AsyncrayError for amounts that make no sense.
    """
    total_memory = psutil.virtual_memory().total
    store = object_store_memory if object_store_memory is not None else int(total_memory * _STORE_SHARE)
    amounts: dict[str, float] = {
        "CPU": num_cpus if num_cpus is not None else len(os.sched_getaffinity(0)),
        "GPU": num_gpus if num_gpus is not None else _count_gpus(),
        "memory": memory if memory is not None else total_memory - store,
        "object_store_memory": store,
    }
    for name, amount in custom.items():
        if name in amounts:
            raise AsyncrayError(f"resource {name!r} has an option of its own: do not repeat it in resources=")
        amounts[name] = amount
    try:
        return to_units(amounts)
    except ValueError as error:
        raise AsyncrayError(str(error)) from None


def _count_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip()])
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=5, check=False)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
