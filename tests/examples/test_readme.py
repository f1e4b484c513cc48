"""The README's programs run as they are printed there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

BLOCKS = re.findall(r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "README.md").read_text(), re.M | re.S)


def test_the_readme_has_programs() -> None:
    assert BLOCKS


@pytest.mark.parametrize("program", BLOCKS, ids=[f"block {number}" for number in range(1, len(BLOCKS) + 1)])
def test_a_program_of_the_readme_runs(program: str, run_text: Callable[[str], str]) -> None:
    run_text(program)
