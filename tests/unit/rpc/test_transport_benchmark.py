from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "transport.py"


def test_the_benchmark_of_the_transport_runs() -> None:
    arguments = ["--seconds", "0.05", "--rounds", "1", "--json"]
    output = subprocess.run([sys.executable, str(SCRIPT), *arguments], check=True, capture_output=True, text=True)
    results = json.loads(output.stdout)
    assert set(results) == {"bare sockets", "asyncray streams", "grpclib + betterproto"}
    assert all(figure > 0 for figures in results.values() for figure in figures.values())
