"""Saves what betterproto imports only to learn its own version. Imported before betterproto can be.

Measured, an idle cluster with its driver: 92.0 MB with `importlib.metadata` and what that needs (email, zipfile, csv,
lzma, ...) in the driver and in the daemon, 88.0 MB without; and 15 ms less in each start.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

VERSION: Final = "2.0.0b7"
"""To which `pyproject.toml` pins it."""


def _give_version() -> None:
    module = ModuleType("betterproto._version")
    vars(module)["__version__"] = VERSION
    sys.modules.setdefault(module.__name__, module)


_give_version()
