"""Calls that wait at a worker."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from asyncray.worker import arrivals
from asyncray.worker.arrivals import Arrivals


async def test_a_call_may_let_go_of_its_arguments_any_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_PAUSE", 0)
    runtime: Any = SimpleNamespace(peers=SimpleNamespace(handlers={}))
    nothing: Any = None
    waiting = Arrivals(runtime, nothing, nothing, nothing)
    attempts = 0

    async def prepare(call: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 2 * sys.getrecursionlimit():
            raise asyncio.CancelledError  # as when RELIEVE has taken back what the call fetches

    monkeypatch.setattr(waiting, "prepare", prepare)
    await waiting._prepare_patiently(nothing)
    assert attempts == 2 * sys.getrecursionlimit() + 1
