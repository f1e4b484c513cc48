from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from asyncray.rpc.lean_betterproto import VERSION


def test_the_version_that_betterproto_is_told_is_the_one_that_is_installed() -> None:
    assert metadata.version("betterproto") == VERSION


def test_neither_daemons_nor_drivers_read_the_metadata_of_packages() -> None:
    program = "import asyncray.daemon, asyncray.sync, sys; print('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
