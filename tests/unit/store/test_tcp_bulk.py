"""The bulk channel over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncray.config import DEFAULT, Config
from asyncray.errors import ConnectionFailed, ObjectLostError, ProtocolError
from asyncray.rpc.auth import Token
from asyncray.rpc.tls import TlsConfig
from asyncray.store import bulk_server, bulk_wire
from asyncray.store.arena import Arena
from asyncray.store.overflow import overflow_start
from asyncray.store.source import Source
from asyncray.store.tcp_bulk import TcpBulk

KEY = b"k" * 36
SIZE = 3_000_000
CAPACITY = 8 * 1024 * 1024
LARGE = 40_000_000
"""More than the buffers of the kernel take."""
IMPATIENT = replace(DEFAULT, bulk_silence_timeout=0.5)


class Place:
    """A node that has one object, in its arena and perhaps in a file."""

    def __init__(self, config: Config = DEFAULT, tls: TlsConfig | None = None, size: int = SIZE) -> None:
        self.arena = Arena.create(CAPACITY + size, CAPACITY, "/tmp")
        self.offset = 4096
        self.size = size
        self.bulk = TcpBulk("token", config, tls)
        self.file: tuple[str, int] | None = None
        self.open = 0
        self.content = bytes(range(251)) * (SIZE // 251 + 1)
        self.arena.view(4096, SIZE)[:] = self.content[:SIZE]
        self.target = ""

    def source(self, key: bytes) -> Source | None:
        if key != KEY:
            return None
        self.open += 1
        return Source(self.size, None if self.file else self.offset, self.file, 77, self._closed)

    def _closed(self) -> None:
        self.open -= 1


pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

Start = Callable[..., Awaitable[Place]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    before = set(threading.enumerate())
    async with AsyncExitStack() as stack:

        async def start(config: Config = DEFAULT, tls: TlsConfig | None = None, size: int = SIZE) -> Place:
            place = Place(config, tls, size)
            server = await place.bulk.serve("127.0.0.1", place.source, place.arena)
            stack.callback(place.arena.close)
            stack.push_async_callback(server.close)
            stack.push_async_callback(place.bulk.close)
            place.target = f"127.0.0.1:{server.port}"
            return place

        yield start
    assert {thread for thread in threading.enumerate() if "bulk" in thread.name} <= before


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def fetch(place: Place, offset: int = 0, *, key: bytes = KEY, target: str = "", size: int = SIZE) -> bytes:
    into = bytearray(size - offset)
    reached: list[int] = []
    with memoryview(into) as view:
        assert await place.bulk.fetch(target or place.target, key, offset, view, reached.append) == 77
    assert reached == sorted(reached) and (not reached or reached[-1] == size - offset)
    return bytes(into)


async def test_an_object_arrives_from_any_offset_and_connections_are_used_again(start: Start) -> None:
    place = await start()
    for offset in (0, 1, SIZE - 1, 4096):
        assert await fetch(place, offset) == place.content[offset:SIZE]
    await until(lambda: place.open == 0)
    assert await fetch(place, SIZE) == b""


async def test_an_object_in_a_file_is_read_there(start: Start, tmp_path: Path) -> None:
    place = await start()
    path = tmp_path / "spilled"
    path.write_bytes(b"before" + place.content[:SIZE] + b"after")
    place.arena.view(4096, SIZE)[:] = bytes(SIZE)
    place.file = (str(path), 6)
    assert await fetch(place, 5) == place.content[5:SIZE]
    path.write_bytes(place.content[: SIZE // 2])
    with pytest.raises(ConnectionFailed, match=r"was lost after \d+ of 3000000 bytes"):
        await fetch(place)
    await until(lambda: place.open == 0)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_an_object_in_the_overflow_is_read_there(start: Start, tls: TlsConfig, encrypted: bool) -> None:
    place = await start(tls=tls if encrypted else None)
    place.arena.view(4096, SIZE)[:] = bytes(SIZE)
    place.offset = overflow_start(place.arena.capacity) + 4096
    await place.arena.reserve(place.offset, SIZE)
    place.arena.writable(place.offset, SIZE)[:] = place.content[:SIZE]
    for offset in (0, 17):
        assert await fetch(place, offset) == place.content[offset:SIZE]


@pytest.fixture
def tls(tmp_path: Path) -> TlsConfig:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    names = [str(tmp_path / name) for name in ("cert", "key", "ca")]
    certificate.cert_chain_pems[0].write_to_path(names[0])
    certificate.private_key_pem.write_to_path(names[1])
    authority.cert_pem.write_to_path(names[2])
    return TlsConfig(*names)


@pytest.mark.parametrize("in_file", [False, True])
async def test_with_tls_it_is_the_same(start: Start, tls: TlsConfig, tmp_path: Path, in_file: bool) -> None:
    place = await start(tls=tls)
    if in_file:
        (tmp_path / "spilled").write_bytes(b"before" + place.content[:SIZE])
        place.file = (str(tmp_path / "spilled"), 6)
    for offset in (0, 17):
        assert await fetch(place, offset) == place.content[offset:SIZE]
    plain = TcpBulk("token", IMPATIENT)
    with pytest.raises(ConnectionFailed), memoryview(bytearray(SIZE)) as view:
        await plain.fetch(place.target, KEY, 0, view, lambda count: None)
    await plain.close()
    assert await fetch(place) == place.content[:SIZE]


async def test_what_arrives_after_the_end_of_a_fetch_is_not_ciphertext(start: Start, tls: TlsConfig) -> None:
    place = await start(tls=tls)
    into, reached = bytearray(SIZE), [0]

    def progress(count: int) -> None:
        reached.append(count)
        assert place.bulk._client is not None
        for connection in place.bulk._client._busy:
            select.select([connection.sock], [], [])  # more has come already
            connection.end()

    with pytest.raises(ConnectionFailed), memoryview(into) as view:
        await place.bulk.fetch(place.target, KEY, 0, view, progress)
    assert 0 < reached[-1] < SIZE and into[: reached[-1]] == place.content[: reached[-1]]
    await until(lambda: place.open == 0)


async def test_a_handshake_with_tls_can_be_cancelled(start: Start, tls: TlsConfig) -> None:
    place = await start(tls=tls)
    with socket.create_server(("127.0.0.1", 0)) as silent, memoryview(bytearray(SIZE)) as view:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        task = asyncio.create_task(place.bulk.fetch(target, KEY, 0, view, lambda count: None))
        await until(lambda: place.bulk._client is not None and bool(place.bulk._client._busy))
        task.cancel()
        await asyncio.wait([task], timeout=2)
        assert task.cancelled(), "not as late as silence is given up"


async def test_descriptors_run_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await start()
    failures: list[int] = []
    accept = socket.socket.accept

    def fail(sock: socket.socket) -> object:
        if not failures:
            failures.append(1)
            raise OSError(24, "Too many open files")
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", fail)
    monkeypatch.setattr("asyncray.store.bulk_server._ACCEPT_PAUSE", 0.01)
    assert await fetch(place) == place.content[:SIZE]
    assert failures


async def test_many_at_a_time(start: Start) -> None:
    place = await start(replace(DEFAULT, bulk_threads=4))
    results = await asyncio.gather(*(fetch(place, number) for number in range(20)))
    assert all(result == place.content[number:SIZE] for number, result in enumerate(results))


async def test_what_is_not_there_or_has_another_size_is_said_so(start: Start) -> None:
    place = await start()
    for _ in range(2):
        with pytest.raises(ObjectLostError, match="not there any more"):
            await fetch(place, key=b"x" * 36)
    with pytest.raises(ProtocolError, match="has 3000000 bytes of an object of 3000001"):
        await fetch(place, size=SIZE + 1)
    with pytest.raises(ProtocolError):
        await fetch(place, SIZE + 5, size=SIZE + 10)
    assert await fetch(place) == place.content[:SIZE]
    await until(lambda: place.open == 0)


async def test_nobody_listens(start: Start) -> None:
    place = await start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionFailed, match="cannot connect"):
        await fetch(place, target=f"127.0.0.1:{port}")
    with pytest.raises(ConnectionFailed, match="cannot connect"):
        await fetch(place, target=f"{'a' * 70}.b:1")


async def test_without_the_token_nobody_gets_anything(start: Start) -> None:
    place = await start()
    stranger = TcpBulk("another")
    with pytest.raises(ConnectionFailed), memoryview(bytearray(SIZE)) as view:
        await stranger.fetch(place.target, KEY, 0, view, lambda count: None)
    await stranger.close()
    assert place.open == 0


async def connect(place: Place) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", int(place.target.split(":")[1])))
    return client


@pytest.mark.parametrize("end", ["confirmed", "closed", "silent", "nonsense"])
async def test_an_object_stays_as_it_is_until_the_client_has_confirmed_it(start: Start, end: str) -> None:
    """Whoever the block is given to next would write into what still is in the socket's buffers."""
    place = await start(IMPATIENT if end == "silent" else DEFAULT)
    loop = asyncio.get_running_loop()
    size = 100_000  # which the buffers take at once
    offset = SIZE - size
    with await connect(place) as client:
        await loop.sock_sendall(client, bulk_wire.greeting(Token("token")))
        await loop.sock_sendall(client, bulk_wire.pack(bulk_wire.Request(KEY, offset)))
        received = bytearray()
        header = bulk_wire.pack(bulk_wire.Answer(bulk_wire.OK, SIZE, 77))
        while len(received) < len(header) + size:
            received += await loop.sock_recv(client, 1 << 20)
        assert received == header + place.content[offset:SIZE]
        assert place.open == 1
        if end == "confirmed":
            await loop.sock_sendall(client, bulk_wire.RECEIVED)
            await until(lambda: place.open == 0)
            await loop.sock_sendall(client, bulk_wire.pack(bulk_wire.Request(b"x" * 36, 0)))
            assert bulk_wire.unpack_answer(await loop.sock_recv(client, 100)).status == bulk_wire.ABSENT
        elif end == "closed":
            client.close()
        elif end == "nonsense":
            await loop.sock_sendall(client, b"?")
        await until(lambda: place.open == 0)
        if end == "silent":
            with pytest.raises(ConnectionResetError):
                await loop.sock_sendall(client, bulk_wire.RECEIVED)


async def test_those_who_do_not_show_the_token_hinder_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_server, "_STRANGERS", 3)
    monkeypatch.setattr(bulk_server, "_CONNECTIONS", 1)
    place = await start()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(await connect(place)) for _ in range(5)]
        for stranger in strangers[:2]:
            assert await asyncio.get_running_loop().sock_recv(stranger, 1) == b""
        assert await fetch(place) == place.content[:SIZE]
        assert await fetch(place, 5) == place.content[5:SIZE]
        with pytest.raises(ConnectionFailed):
            await fetch(await start(), target=place.target)


async def test_a_fetch_that_is_cancelled_writes_no_more(start: Start) -> None:
    """The server here sends half of the object, and then nothing."""
    place = await start()
    header = bulk_wire.pack(bulk_wire.Answer(bulk_wire.OK, SIZE, None))
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(bulk_wire.GREETING_SIZE)
        await reader.readexactly(2)
        writer.write(header + b"z" * (SIZE // 2))
        await writer.drain()
        arrived.set()
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        into = bytearray(SIZE)
        with memoryview(into) as view:
            task = asyncio.create_task(place.bulk.fetch(target, KEY, 0, view, lambda count: None))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        into.clear()  # BufferError if anybody had it still
        await asyncio.wait_for(ended.wait(), 10)


async def test_silence_in_the_middle_is_given_up_and_the_error_says_how_far_it_got(start: Start) -> None:
    place = await start(IMPATIENT)
    header = bulk_wire.pack(bulk_wire.Answer(bulk_wire.OK, SIZE, None))

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(bulk_wire.GREETING_SIZE)
        writer.write(header + b"z" * 1_000_000)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match=r"lost after 1000000 of 3000000 bytes: nothing came for 0.5 s"):
            await fetch(place, target=target)


async def test_a_client_that_takes_nothing_is_given_up(start: Start) -> None:
    place = await start(IMPATIENT, size=LARGE)
    host, port = place.target.split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
        greeting = bulk_wire.greeting(Token("token")) + bulk_wire.pack(bulk_wire.Request(KEY, 0))
        await asyncio.get_running_loop().sock_sendall(client, greeting)
        await until(lambda: place.open == 1)
        await until(lambda: place.open == 0)


async def test_the_end_of_the_server_ends_what_is_under_way() -> None:
    place = Place(size=LARGE)
    server = await place.bulk.serve("127.0.0.1", place.source, place.arena)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
        greeting = bulk_wire.greeting(Token("token")) + bulk_wire.pack(bulk_wire.Request(KEY, 0))
        await asyncio.get_running_loop().sock_sendall(client, greeting)
        await until(lambda: place.open == 1)
        async with asyncio.timeout(5):
            await server.close()
    assert place.open == 0
    place.arena.close()


async def test_a_connection_that_has_ended_meanwhile_is_made_anew(start: Start) -> None:
    place = await start()
    other = await start()
    assert await fetch(other, target=place.target) == place.content[:SIZE]
    for connections in other.bulk._client._idle.values():  # type: ignore[union-attr]
        for connection in connections:
            connection.end()
    assert await fetch(other, target=place.target) == place.content[:SIZE]


async def test_idle_connections_are_closed(start: Start) -> None:
    place = await start(replace(DEFAULT, bulk_idle_timeout=0.1))
    await fetch(place)
    client = place.bulk._client
    assert client is not None
    await until(lambda: not client._idle)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.lists(st.binary(max_size=300), max_size=3), greeted=st.booleans())
async def test_garbage_harms_nothing(start: Start, garbage: list[bytes], greeted: bool) -> None:
    place = await start()
    host, port = place.target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    if greeted:
        writer.write(bulk_wire.greeting(Token("token")))
    for piece in garbage:
        writer.write(piece)
        await asyncio.sleep(0)
    with contextlib.suppress(OSError):  # it has closed the connection already
        writer.write_eof()
        async with asyncio.timeout(5):
            assert len(await reader.read()) < 100
    writer.close()
    assert await fetch(place, SIZE - 10) == place.content[SIZE - 10 : SIZE]
    await until(lambda: place.open == 0)


@given(st.binary(max_size=300))
def test_headers_are_understood_or_refused(garbage: bytes) -> None:
    for parse in (bulk_wire.whole_size, bulk_wire.unpack_request, bulk_wire.unpack_answer):
        with contextlib.suppress(ProtocolError):
            parse(garbage)


@given(st.binary(max_size=60), st.integers(0, 2**62), st.none() | st.integers(0, 2**64 - 1))
def test_headers_arrive_as_they_were(key: bytes, number: int, checksum: int | None) -> None:
    request, answer = bulk_wire.Request(key, number), bulk_wire.Answer(1, number, checksum)
    packed = bulk_wire.pack(request)
    assert bulk_wire.whole_size(packed[:2]) == len(packed) and bulk_wire.unpack_request(packed) == request
    assert bulk_wire.unpack_answer(bulk_wire.pack(answer)) == answer
