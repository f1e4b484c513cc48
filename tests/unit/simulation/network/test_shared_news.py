"""What many are told is decoded once."""

from __future__ import annotations

import random

from asyncray import messages
from asyncray.rpc import codec
from asyncray.simulation.network import Conditions, SimulatedNetwork


def body(count: int) -> bytes:
    entries = [[bytes([number]) * 16, {"CPU": number}] for number in range(count)]
    return codec.join([codec.packer()((messages.VIEW, entries))])


def test_those_who_are_told_the_same_share_it() -> None:
    network = SimulatedNetwork(random.Random(0), Conditions())
    first, second, other = network.unpack_once(body(32)), network.unpack_once(body(32)), network.unpack_once(body(31))
    assert first == codec.unpack(body(32))
    assert second is first
    assert other == codec.unpack(body(31))


def test_only_so_much_is_remembered() -> None:
    network = SimulatedNetwork(random.Random(0), Conditions())
    for number in range(1000):
        news = codec.join([codec.packer()((messages.VIEW, [[number.to_bytes(200, "big"), {}]]))])
        assert network.unpack_once(news)[0][1][0][0] == number.to_bytes(200, "big")
    assert len(network._unpacked) <= 256
