"""Programs as users start them: an interpreter of their own for each."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PATIENCE = 30.0


def run_program(folder: Path, text: str, *arguments: str, **modules: str) -> str:
    """Runs the text of a program that lies in `folder`, next to `modules`; it must end well. Returns what it prints."""
    done = finish_program(folder, text, *arguments, **modules)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert done.stderr == ""
    return done.stdout


def finish_program(folder: Path, text: str, *arguments: str, **modules: str) -> subprocess.CompletedProcess[str]:
    """The same for a program that may fail."""
    for name, module in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(module))
    program = folder / "program.py"
    program.write_text(textwrap.dedent(text))
    command = [sys.executable, str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=folder)
