"""The tests of docs/testing.md pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
PATIENCE = 60.0


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "test_squares.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "test_squares.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
