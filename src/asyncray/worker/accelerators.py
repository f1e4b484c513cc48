"""Which GPUs user code sees."""

from __future__ import annotations

import os
from typing import Final

_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"


class VisibleDevices:
    """Sets `CUDA_VISIBLE_DEVICES` of this process for the GPUs that its lease has, and sets it back without any."""

    def __init__(self) -> None:
        self._original = os.environ.get(_VARIABLE)

    def show(self, indices: list[int] | None) -> None:
        """`indices` count the devices that the node's own variable shows, if it has one."""
        if indices:
            devices = self._original.split(",") if self._original else None
            os.environ[_VARIABLE] = ",".join(devices[index].strip() if devices else str(index) for index in indices)
        elif self._original is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = self._original
