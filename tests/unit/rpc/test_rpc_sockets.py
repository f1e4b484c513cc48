"""Where processes listen, and what they say when they cannot be reached."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import threading

import pytest

from asyncray.errors import AddressInUse, AsyncrayError, ConnectionFailed
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.sockets import listen_unix

from .endpoints import ROUTE, TOKEN, Recorder, Server

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


def mode_of(path: str) -> int | None:
    """The permissions of a file; None if there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


async def test_a_unix_socket_has_mode_0600_and_goes_with_its_listener(server: Server) -> None:
    path = server.listener.unix_path or ""
    assert mode_of(path) == 0o600
    await server.listener.close()
    assert mode_of(path) is None


def test_a_unix_socket_is_never_open_to_others_whatever_the_umask(socket_path: str) -> None:
    old = os.umask(0)
    modes: set[int | None] = set()
    watching, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            watching.set()
            modes.add(mode_of(socket_path))

    watcher = threading.Thread(target=watch)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        watcher.start()
        watching.wait()
        for _ in range(200):
            listen_unix(socket_path).close()
            os.unlink(socket_path)
    finally:
        done.set()
        watcher.join()
        sys.setswitchinterval(switch)
        os.umask(old)
    assert modes <= {None, 0o600}


async def test_a_socket_file_that_a_dead_process_left_is_replaced(socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(socket_path)
    server = Server()
    listener = await GrpcNetwork(TOKEN).listen(streams={ROUTE: server.accept}, unix_path=socket_path)
    channel = await GrpcNetwork(TOKEN).connect(f"unix:{socket_path}")
    await channel.open(ROUTE, Recorder())
    channel.close()
    await listener.close()


async def test_a_socket_that_another_process_listens_on_is_left_alone(server: Server) -> None:
    path = server.listener.unix_path
    with pytest.raises(AddressInUse, match="another process listens there") as error:
        await GrpcNetwork(TOKEN).listen(unix_path=path)
    assert isinstance(error.value, OSError)
    channel = await GrpcNetwork(TOKEN).connect(server.unix)
    await channel.open(ROUTE, Recorder())
    channel.close()


async def test_a_file_that_is_no_socket_is_left_alone(socket_path: str) -> None:
    with open(socket_path, "w") as file:  # noqa: ASYNC230 - nothing else runs
        file.write("precious")
    with pytest.raises(AddressInUse, match="not a socket"):
        await GrpcNetwork(TOKEN).listen(unix_path=socket_path)
    assert os.stat(socket_path).st_size == len("precious")
    os.unlink(socket_path)


async def test_a_listener_does_not_remove_the_socket_of_its_successor(socket_path: str) -> None:
    first = await GrpcNetwork(TOKEN).listen(unix_path=socket_path)
    os.unlink(socket_path)
    second = await GrpcNetwork(TOKEN).listen(unix_path=socket_path)
    await first.close()
    assert mode_of(socket_path) == 0o600
    await second.close()


async def test_a_tcp_port_in_use_is_reported_in_one_line_and_nothing_is_left(server: Server, socket_path: str) -> None:
    other = f"{socket_path}2"
    with pytest.raises(AddressInUse, match=rf"127\.0\.0\.1:{server.listener.port} is taken"):
        await GrpcNetwork(TOKEN).listen(unix_path=other, host="127.0.0.1", port=server.listener.port)
    assert mode_of(other) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_not_here_is_reported_in_one_line(host: str) -> None:
    with pytest.raises(ConnectionFailed, match=rf"cannot listen on {host}:0: ") as error:
        await GrpcNetwork(TOKEN).listen(host=host)
    assert "\n" not in str(error.value)


async def test_a_directory_that_does_not_exist_is_reported_in_one_line() -> None:
    with pytest.raises(ConnectionFailed, match="cannot listen on unix:/nowhere/socket: No such file"):
        await GrpcNetwork(TOKEN).listen(unix_path="/nowhere/socket")
    with pytest.raises(ConnectionFailed, match="too long"):
        await GrpcNetwork(TOKEN).listen(unix_path="/tmp/" + "x" * 200)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("unix:/nowhere/socket", "there is no such socket"),
        ("127.0.0.1:1", "nothing listens there"),
        ("localhost:1", "nothing listens there"),
        ("no-such-host.invalid:1", "name is not known"),
        ("unix:/tmp/" + "x" * 200, "too long"),
        ("nonsense", "expected host:port or unix:/path"),
        ("host:", "expected host:port"),
        (":80", "expected host:port"),
        ("host:99999", "expected host:port"),
        ("", "expected host:port"),
    ],
)
async def test_what_cannot_be_reached_is_named_in_one_line(target: str, text: str) -> None:
    with pytest.raises(ConnectionFailed) as error:
        await GrpcNetwork(TOKEN).connect(target)
    assert isinstance(error.value, ConnectionError)
    assert isinstance(error.value, AsyncrayError)
    assert text in str(error.value)
    assert target in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_dial_that_gets_no_answer_fails_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        port = silent.getsockname()[1]
        fillers = []
        try:
            for _ in range(8):  # until the kernel answers no more
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            with pytest.raises(ConnectionFailed, match=r"did not answer within 0\.1 s"):
                await GrpcNetwork(TOKEN).connect(f"127.0.0.1:{port}", timeout=0.1)
        finally:
            for filler in fillers:
                filler.close()


async def test_a_server_that_is_something_else_is_reported() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    channel = await GrpcNetwork(TOKEN).connect(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(ConnectionFailed, match="before it said anything"):
        await channel.open(ROUTE, Recorder())
    channel.close()
    server.close()
    await server.wait_closed()


async def test_ipv6_addresses_work(server: Server) -> None:
    listener = await GrpcNetwork(TOKEN).listen(streams={ROUTE: server.accept}, host="::1")
    channel = await GrpcNetwork(TOKEN).connect(f"[::1]:{listener.port}")
    stream = await channel.open(ROUTE, Recorder())
    assert stream.local_address.startswith("[::1]:")
    channel.close()
    await listener.close()


async def test_tcp_connections_are_kept_alive_by_the_kernel_and_not_delayed(server: Server) -> None:
    channel = await GrpcNetwork(TOKEN).connect(server.tcp)
    await channel.open(ROUTE, Recorder())
    for connection in server.listener.connections:  # type: ignore[attr-defined]
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    channel.close()


async def test_peers_on_a_unix_socket_are_known_by_their_process(server: Server) -> None:
    channel = await GrpcNetwork(TOKEN).connect(server.unix)
    stream = await channel.open(ROUTE, Recorder())
    assert stream.remote == server.unix
    assert server.last.stream.remote == f"unix:pid {os.getpid()}"
    channel.close()
