"""The flag that accepts what scenarios really did."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scenarios",
        action="store_true",
        help="writes what happened into the files of tests/sim/scenarios, to be read in their diff",
    )


@pytest.fixture
def rewrites_scenarios(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite-scenarios", default=False))
