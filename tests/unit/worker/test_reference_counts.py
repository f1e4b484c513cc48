"""What follows from reference counts is carried out, whatever hinders a part of it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from asyncray import messages
from asyncray.worker.effects import Send
from asyncray.worker.ownership import Ownership
from asyncray.worker.reference_counts import ReferenceCounts


async def test_an_effect_that_fails_leaves_the_others_to_the_next_turn() -> None:
    sent: list[Any] = []
    turns: list[None] = []

    def link(address: Any) -> Any:
        if not address:
            raise IndexError("an address that is none")
        return SimpleNamespace(send=sent.append)

    runtime: Any = SimpleNamespace(
        ownership=Ownership(b"self"),
        ownership_lock=threading.Lock(),
        peers=SimpleNamespace(handlers={}, on_lost=[], needed=[], link=link),
        schedule_turn=lambda: turns.append(None),
    )
    counts = ReferenceCounts(runtime)
    first, last = (messages.RELEASE, b"first"), (messages.RELEASE, b"last")
    there: Any = [b"other"]
    runtime.ownership.effects += [Send(there, first), Send([], first), Send(there, last)]
    with pytest.raises(IndexError):
        counts.apply()
    assert sent == [first] and turns == [None]
    counts.apply()
    assert sent == [first, last] and not runtime.ownership.effects
