from __future__ import annotations

from asyncray.bounded import Remembered


def test_the_oldest_is_forgotten_first() -> None:
    memory: Remembered[int, str] = Remembered(2)
    memory[1], memory[2] = "one", "two"
    memory[1] = "one again"
    memory[3] = "three"
    assert dict(memory) == {1: "one again", 3: "three"}
