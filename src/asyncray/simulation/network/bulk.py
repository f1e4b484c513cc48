"""The bulk channel of a simulated node: a connection for each fetch, with the latency, the bandwidth and the faults of
all others. The bytes are copied piece by piece, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncray.errors import AsyncrayError, AuthenticationError, ConnectionFailed, ObjectLostError, ProtocolError
from asyncray.rpc.auth import Token
from asyncray.rpc.status import error_of_headers, error_of_reset, headers_of
from asyncray.simulation.network.connection import Connection
from asyncray.simulation.network.link import Headers, Link, Request
from asyncray.simulation.network.listener import SimulatedListener
from asyncray.store.arena import SharedMemory
from asyncray.store.disk import Disk
from asyncray.store.source import Source

if TYPE_CHECKING:
    from asyncray.config import Config
    from asyncray.simulation.network.endpoint import SimulatedEndpoint
    from asyncray.simulation.network.network import SimulatedNetwork

_ROUTE: Final = "bulk"
_PIECE: Final = 256 * 1024
_PIECES: Final = 64
"""An object is sent in about so many pieces, if it is large."""


@dataclass(frozen=True, slots=True)
class _Pages:
    """A piece of an object in the arena, which is read when it arrives: after sendfile a socket refers to the pages
    themselves, and whoever writes there meanwhile changes what is received."""

    arena: SharedMemory
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size

    def read(self) -> bytes:
        return bytes(self.arena.view(self.offset, self.size))


Content = Callable[[Source, int, int], Awaitable[bytes | _Pages]]
"""`content(source, start, size)`: a piece of an object. Raises OSError."""


class SimulatedBulk:
    """A `Bulk` for one process."""

    def __init__(self, network: SimulatedNetwork, endpoint: SimulatedEndpoint, disk: Disk) -> None:
        self._network = network
        self._endpoint = endpoint
        self._token = endpoint.token
        self._disk = disk

    async def serve(
        self, host: str, open_source: Callable[[bytes], Source | None], arena: SharedMemory
    ) -> SimulatedListener:
        async def content(source: Source, start: int, size: int) -> bytes | _Pages:
            if source.file is not None:
                path, offset = source.file
                piece = bytearray(size)
                if await self._disk.read_into(path, offset + start, piece) < size:
                    raise OSError(f"{path} is shorter than it should be")
                return bytes(piece)
            assert source.offset is not None
            return _Pages(arena, source.offset + start, size)

        listener = _Listener(self._endpoint, self._token, self._network, open_source, content)
        self._endpoint.listen_tcp(host, listener)
        return listener

    async def fetch(
        self, target: str, key: bytes, offset: int, into: memoryview, progress: Callable[[int], None]
    ) -> int | None:
        connection = await self._endpoint.connect_tcp(target)
        try:
            fetch = _Fetch(connection, into, offset, progress, self._network.config)
            await connection.reserve()
            connection.start(fetch)
            connection.out.send(Connection.on_request, fetch.number, Request(_ROUTE, self._token.header))
            connection.out.write(fetch, _deliver, (key, offset), 64)
            return await fetch.outcome()
        finally:
            connection.close()

    async def close(self) -> None:
        """No connection is kept."""


def _deliver(connection: Connection, number: int, payload: Any) -> None:
    link = connection.find(number)
    if isinstance(link, _Sending | _Fetch):
        if isinstance(payload, _Pages):
            payload = payload.read()
        if isinstance(payload, bytes):
            connection.traffic.bytes += len(payload)
        link.on_payload(payload)


class _Link(Link):
    """Nothing but payloads travels here."""

    __slots__ = ()

    def on_data(self, data: bytes) -> None:
        raise AsyncrayError("a frame on a bulk connection")


class _Fetch(_Link):
    """The receiving end."""

    __slots__ = ("_checksum", "_config", "_done", "_got", "_into", "_moved", "_offset", "_progress", "_size")

    def __init__(
        self, connection: Connection, into: memoryview, offset: int, progress: Callable[[int], None], config: Config
    ) -> None:
        super().__init__(connection, _ROUTE)
        self._into = into
        self._offset = offset
        self._progress = progress
        self._config = config
        self._got = 0
        self._checksum: int | None = None
        self._size = -1
        self._moved = False
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def outcome(self) -> int | None:
        """The checksum. Raises ConnectionFailed, ObjectLostError, ProtocolError."""
        limit = self._config.bulk_silence_timeout
        try:
            while not self._done.done():
                self._moved = False
                await asyncio.wait([self._done], timeout=limit)
                if not self._moved and not self._done.done():
                    raise self._lost(f"nothing came for {limit:g} s")
            self._done.result()
            return self._checksum
        finally:
            self._done.cancel()
            if not self.over:
                self.leave()

    def on_payload(self, payload: Any) -> None:
        self._moved = True
        if self._done.done():
            return
        if isinstance(payload, bytes):
            self._into[self._got : self._got + len(payload)] = payload
            self._got += len(payload)
            self._progress(self._got)
        elif payload is None:
            self._done.set_exception(ObjectLostError("it is not there any more"))
            return
        else:
            self._size, self._checksum = payload
            if self._size != self._offset + self._into.nbytes:
                wanted = self._offset + self._into.nbytes
                text = f"{self.connection.remote} has {self._size} bytes of an object of {wanted}"
                self._done.set_exception(ProtocolError(text))
                return
        if self._got == self._into.nbytes:
            self._done.set_result(None)

    def on_end(self, headers: Headers | None) -> None:
        self._fail(error_of_headers(dict(headers or ()), self.connection.remote))

    def on_reset(self, code: int) -> None:
        self._fail(error_of_reset(code, self.connection.remote))

    def on_connection_lost(self, error: Exception) -> None:
        self._fail(error)

    def _fail(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(self._lost(str(error or "the other side has closed it")))
            self._done.exception()  # it may be that nobody waits any more

    def _lost(self, why: str) -> ConnectionFailed:
        at = f"{self.connection.remote} was lost after {self._got} of {self._into.nbytes} bytes"
        return ConnectionFailed(f"the bulk connection to {at}: {why}")


class _Sending(_Link):
    """The sending end of one fetch."""

    __slots__ = ("_content", "_network", "_open_source", "_room", "_task")

    def __init__(
        self,
        connection: Connection,
        network: SimulatedNetwork,
        open_source: Callable[[bytes], Source | None],
        content: Content,
    ) -> None:
        super().__init__(connection, _ROUTE)
        self._network = network
        self._open_source = open_source
        self._content = content
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def on_payload(self, payload: Any) -> None:
        key, offset = payload
        source = self._open_source(key)
        if source is None:
            self.connection.out.write(self, _deliver, None, 64)
            return
        self._task = asyncio.get_running_loop().create_task(self._send(source, offset), name="bulk send")
        self._task.add_done_callback(lambda _: source.close())  # it may be cancelled before it has begun

    async def _send(self, source: Source, offset: int) -> None:
        out = self.connection.out
        patience = self._network.config.bulk_silence_timeout
        try:
            out.write(self, _deliver, (source.size, source.checksum), 64)
            piece = max(_PIECE, source.size // _PIECES)
            for start in range(offset, source.size, piece):
                content = await self._content(source, start, min(piece, source.size - start))
                self._room.clear()
                out.write(self, _deliver, content, len(content))
                await asyncio.sleep(len(content) / self._network.conditions.bandwidth)
                if self.unsent:
                    async with asyncio.timeout(patience):
                        await self._room.wait()
            # The block stays in place until the receiver has closed the connection, which ends this task.
            await asyncio.sleep(patience)
            self.connection.abort(f"the object was not confirmed for {patience:g} s")
        except TimeoutError:
            self.connection.abort(f"nothing was taken for {patience:g} s")
        except OSError as error:
            self.connection.abort(str(error))

    def on_sent(self) -> None:
        self._room.set()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def on_end(self, headers: Headers | None) -> None:
        self.stop()

    def on_reset(self, code: int) -> None:
        self.stop()

    def on_connection_lost(self, error: Exception) -> None:
        self.over = True
        self.stop()


class _Listener(SimulatedListener):
    """Serves fetches."""

    def __init__(
        self,
        endpoint: SimulatedEndpoint,
        token: Token,
        network: SimulatedNetwork,
        open_source: Callable[[bytes], Source | None],
        content: Content,
    ) -> None:
        super().__init__(endpoint, token, network.config, (), {})
        self._network = network
        self._open_source = open_source
        self._content = content

    def take(self, connection: Connection, number: int, request: Request) -> None:
        if not self._token.accepts(dict([request.authorization])) or request.route != _ROUTE:
            connection.send_end(number, headers_of(AuthenticationError("the token is missing or wrong")))
            return
        link = _Sending(connection, self._network, self._open_source, self._content)
        connection.add(link, number)

    async def close(self) -> None:
        for connection in self.connections():
            for link in connection.links():
                if isinstance(link, _Sending):
                    link.stop()
        await super().close()
