"""Sockets and addresses: `unix:/path` and `host:port`."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
from typing import Any, Final

from asyncray.errors import AddressInUse, ConnectionFailed

_UNIX: Final = "unix:"
_UNIX_PATH_LIMIT: Final = 107
_BACKLOG: Final = 1024
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))
"""Idle seconds until the kernel asks, seconds between questions, unanswered questions: 30 s to find a dead machine."""


def parse_target(target: str) -> tuple[str, int] | str:
    """The host and port, or the path of the Unix socket. Raises ConnectionFailed for what is neither."""
    if target.startswith(_UNIX):
        path = target.removeprefix(_UNIX)
        if len(os.fsencode(path)) > _UNIX_PATH_LIMIT:  # libuv would cut it
            raise ConnectionFailed(f"{target} is too long for a socket: {_UNIX_PATH_LIMIT} bytes at most")
        return path
    host, _, port = target.rpartition(":")
    if host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise ConnectionFailed(f"{target!r} is not an address: expected host:port or unix:/path")


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def prepare(transport: asyncio.BaseTransport) -> None:
    """Sets what every TCP connection of asyncray has: no delay, and keep-alive by the kernel.

    The kernel answers for a process whose loop is blocked: only a dead machine or network ends the connection.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        prepare_socket(sock)


def prepare_socket(sock: socket.socket) -> None:
    """`prepare`, for a TCP socket without a transport."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def describe_local(transport: asyncio.BaseTransport) -> str:
    return _describe(transport.get_extra_info("sockname"))


def describe_peer(transport: asyncio.BaseTransport) -> str:
    """For logs: `host:port`, or the process id of the peer on a Unix socket."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_UNIX:
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return f"{_UNIX}pid {pid}"
    return _describe(transport.get_extra_info("peername"))


def _describe(name: Any) -> str:
    if isinstance(name, tuple):
        return format_address(name[0], name[1])
    return _UNIX + os.fsdecode(name or b"")


def listen_unix(path: str) -> socket.socket:
    """Listens on a socket file of mode 0600; a file that a dead process left is replaced.

    Raises AddressInUse, and ConnectionFailed when the file cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _remove_stale(path)
        # On Linux the file gets the mode of the unbound socket: there is no moment at which others can connect,
        # and no umask to change, which all threads would share.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise error if isinstance(error, AddressInUse) else _cannot_listen(f"{_UNIX}{path}", error) from error
    return sock


def _cannot_listen(address: str, error: OSError) -> AddressInUse | ConnectionFailed:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{address} is taken: another process listens there")
    return ConnectionFailed(f"cannot listen on {address}: {error.strerror or error}")


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressInUse(f"{_UNIX}{path} is taken: there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except BlockingIOError:
            raise AddressInUse(f"{_UNIX}{path} is taken: another process listens there") from None
        else:
            raise AddressInUse(f"{_UNIX}{path} is taken: another process listens there")
    os.unlink(path)


async def _resolve(host: str, port: int) -> list[Any]:
    """Addresses to listen on. Only a name needs the resolver, and with it a thread."""
    try:
        return socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )


async def listen_tcp(host: str, port: int) -> socket.socket:
    """Listens on the first address of `host`; on a free port if `port` is 0. Raises AddressInUse, ConnectionFailed."""
    address = format_address(host, port)
    try:
        family, kind, protocol, _, name = (await _resolve(host, port))[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(address, error) from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _cannot_listen(address, error) from error
    return sock
