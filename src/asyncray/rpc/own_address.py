"""Addresses of this machine: what others can dial when a process listens on all of them."""

from __future__ import annotations

import socket
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1", "[::1]")
WILDCARDS: Final = ("0.0.0.0", "::", "[::]")


def reachable(host: str) -> str:
    """The host to tell others; for a wildcard, the address by which they most likely reach this machine."""
    if host not in WILDCARDS:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only makes the kernel choose a route
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def is_same(asked: str, known: str) -> bool:
    """Whether whoever listens at `known` (`host:port`) on this machine is meant by `asked`."""
    if asked == known:
        return True
    asked_host, _, asked_port = asked.rpartition(":")
    known_host, _, known_port = known.rpartition(":")
    if asked_port != known_port:
        return False
    if known_host in WILDCARDS:
        # Only a name of this machine means the cluster that listens here: a token must not leave by mistake.
        return _is_this_machine(asked_host)
    return asked_host in LOOPBACK and known_host in LOOPBACK


def _is_this_machine(host: str) -> bool:
    """Whether one could listen on that host's address."""
    try:
        found = socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    family, kind, protocol, _, name = found[0]
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.bind(name)
        except OSError:
            return False
    return True
