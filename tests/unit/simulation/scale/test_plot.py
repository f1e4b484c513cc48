"""Growth as a picture."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from asyncray.errors import AsyncrayError
from asyncray.simulation.scale.growth import growths
from asyncray.simulation.scale.measure import measure
from asyncray.simulation.scale.plan import Plan
from asyncray.simulation.scale.plot import check_plotting, plot


def test_a_picture_is_drawn_in_the_format_of_the_ending(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = measure(Plan(nodes=1, actors=0, tasks=5, drivers=1, cpus_per_node=1))
    runs = [replace(run, nodes=size) for size in (1, 2, 4, 8)]
    path = tmp_path / "growth.svg"
    check_plotting(str(path))
    plot(runs, growths(runs), str(path))
    assert path.read_text().startswith("<?xml")


def test_an_ending_that_is_no_format_is_refused_before_anything_runs() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(AsyncrayError, match=r"growth\.doc is no file that plots are drawn into"):
        check_plotting("growth.doc")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(AsyncrayError, match=r"asyncray\[simulation\]"):
        check_plotting("growth.png")
