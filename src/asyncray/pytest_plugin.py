"""What pytest learns from asyncray: `--sim-seeds N`, `--sim-seed K`, and the parameter `sim_seed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest

_SEEDS: Final = 10
SEEDS_ATTRIBUTE: Final = "__asyncray_sim_seeds__"
"""Where a test says how many seeds it wants."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("asyncray", "simulated clusters")
    group.addoption(
        "--sim-seeds",
        type=int,
        metavar="N",
        help=f"seeds with which each simulation runs (default: its own, or {_SEEDS})",
    )
    group.addoption("--sim-seed", type=int, metavar="K", help="runs each simulation with this seed only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "sim_seed" not in metafunc.fixturenames:
        return
    single, count = metafunc.config.getoption("sim_seed"), metafunc.config.getoption("sim_seeds")
    own = getattr(metafunc.function, SEEDS_ATTRIBUTE, None)
    seeds = [single] if single is not None else range(count or own or _SEEDS)
    metafunc.parametrize("sim_seed", seeds, ids=[f"seed{seed}" for seed in seeds])
