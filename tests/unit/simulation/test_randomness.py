from __future__ import annotations

from asyncray.simulation.randomness import Entropy


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    first, again, other = Entropy("7/node 1"), Entropy("7/node 1"), Entropy("7/node 2")
    drawn = [first(size) for size in (4, 16, 16, 200)]
    assert [len(each) for each in drawn] == [4, 16, 16, 200]
    assert [again(size) for size in (4, 16, 16, 200)] == drawn
    assert len({drawn[1], drawn[2], other(16), other(16)}) == 4
