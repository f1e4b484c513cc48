"""`benchmarks/compare.py`, with the one peer that needs no installation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .polling import PATIENCE

COMPARE = Path(__file__).parents[2] / "benchmarks" / "compare.py"
ROW = "single client tasks sync"


@pytest.fixture
def peers(tmp_path: Path) -> Path:
    """A folder of peers, whose environment is this one."""
    python = tmp_path / "others" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(COMPARE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)


def test_a_row_is_measured_here_and_there(peers: Path, tmp_path: Path) -> None:
    figures, table = tmp_path / "figures.json", tmp_path / "table.md"
    files = [f"--json={figures}", f"--markdown={table}"]
    done = compare(str(peers), "--peer=pool", f"--filter={ROW}", "--seconds=0.05", *files)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(figures.read_text())
    assert (entry["name"], entry["peer"]) == (ROW, "pool")
    assert entry["ratio"] == pytest.approx(entry["ours"]["mean"] / entry["theirs"]["mean"])
    assert table.read_text() == done.stdout
    assert f"| {ROW}, /s | " in done.stdout


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = compare(str(tmp_path), "--peer=xoscar")
    assert done.returncode == 2
    assert f"{tmp_path} has no xoscar" in done.stderr
