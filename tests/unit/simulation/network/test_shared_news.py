"""What many are told is decoded once."""

from __future__ import annotations

import random

import pytest

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


def test_all_whom_a_process_tells_its_address_share_it() -> None:
    network = SimulatedNetwork(random.Random(0), Conditions())

    def hello(address: object) -> bytes:
        return codec.join([codec.packer()((messages.HELLO, address, "worker"))])

    here = [b"p" * 16, b"n" * 16, "/run/p", "10.0.0.1:20000"]
    first, second = network.unpack_hello(hello(here)), network.unpack_hello(hello(here))
    assert first == second == [[messages.HELLO, here, "worker"]]
    assert first[0][1] is second[0][1]
    elsewhere = [*here[:3], "10.0.0.1:20001"]
    assert network.unpack_hello(hello(elsewhere)) == [[messages.HELLO, elsewhere, "worker"]]


@pytest.mark.parametrize("address", [None, 1, "p", [], [1], [["p"]], {}])
def test_what_is_no_address_is_left_as_it_is(address: object) -> None:
    network = SimulatedNetwork(random.Random(0), Conditions())
    message = (messages.HELLO, address, "worker")
    assert network.unpack_hello(codec.join([codec.packer()(message)])) == [list(message)]
