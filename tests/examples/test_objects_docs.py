"""The programs of docs/objects.md print what the page shows below them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "objects.md").read_text()
PATIENCE = 60.0

PROGRAMS: list[tuple[str, str]] = re.findall(r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", PAGE, re.M | re.S)
"""Each with its output, which is empty if the page shows none."""


def name_of(program: tuple[str, str]) -> str:
    imported = re.findall(r"^(?:from|import) (\w+)", program[0], re.M)
    return "-".join(name for name in imported if name not in ("asyncio", "asyncray"))


@pytest.mark.parametrize(("text", "output"), PROGRAMS, ids=map(name_of, PROGRAMS))
def test_a_program_of_the_page_prints_what_is_shown(text: str, output: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(text)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == output
