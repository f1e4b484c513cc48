"""The receiving side of the bulk channel: connections on the loop, bytes by threads that may block."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from asyncray.config import Config
from asyncray.errors import ConnectionFailed, ObjectLostError, ProtocolError
from asyncray.rpc.sockets import parse_target, prepare_socket
from asyncray.rpc.tls import TlsConfig
from asyncray.store import bulk_wire
from asyncray.store.bulk_server import set_patience

_PIECE: Final = 1024 * 1024
"""Bytes that are received by one system call, at the most, after each of which progress is told."""


class _Connection:
    """One to a server, for one object at a time."""

    def __init__(self, sock: socket.socket, target: str) -> None:
        self.sock = sock
        self.target = target
        self.fresh = True
        """It has served no object yet."""
        self.idle_since = 0.0
        self.answered = False
        """The server has begun to answer the last request."""
        self.ended = False

    def end(self) -> None:
        """Makes what a thread does with it fail at once. Any thread."""
        self.ended = True
        with contextlib.suppress(OSError):
            # Not SSLSocket's, after which the thread would take what is still there for plain bytes of the object.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def greet(self, greeting: bytes, tls: ssl.SSLContext | None, name: str, timeout: float) -> None:
        """In a thread. Raises OSError."""
        if tls is not None:
            self.sock.settimeout(timeout)
            # Without the handshake, during which `end` would have no socket to shut down.
            self.sock = tls.wrap_socket(self.sock, server_hostname=name, do_handshake_on_connect=False)
            if self.ended:
                raise ConnectionAbortedError("the fetch was given up")
            self.sock.do_handshake()
        else:
            self.sock.setblocking(True)
        self.sock.sendall(greeting)

    def fetch(self, request: bulk_wire.Request, into: memoryview, progress: Callable[[int], None]) -> int | None:
        """In a thread. Raises OSError, ObjectLostError, ProtocolError."""
        self.answered = False
        self.sock.sendall(bulk_wire.pack(request))
        message = bytearray()
        while len(message) < (wanted := bulk_wire.whole_size(message)):
            piece = self.sock.recv(wanted - len(message))
            if not piece:
                raise ConnectionResetError("the other side has closed it")
            message += piece
            self.answered = True
        answer = bulk_wire.unpack_answer(message)
        if answer.status == bulk_wire.ABSENT:
            raise ObjectLostError("it is not there any more")
        if answer.status != bulk_wire.OK or answer.size != request.offset + into.nbytes:
            raise ProtocolError(f"{self.target} has {answer.size} bytes of an object of {request.offset + into.nbytes}")
        self._receive(into, progress)
        self.sock.sendall(bulk_wire.RECEIVED)  # if this fails, the bytes may have changed before they were here
        return answer.checksum

    def _receive(self, into: memoryview, progress: Callable[[int], None]) -> None:
        flags = 0 if isinstance(self.sock, ssl.SSLSocket) else socket.MSG_WAITALL
        done = 0
        while done < into.nbytes:
            got = self.sock.recv_into(into[done : done + _PIECE], 0, flags)
            if not got:
                raise ConnectionResetError("the other side has closed it")
            done += got
            progress(done)


class TcpBulkClient:
    """Keeps connections for the next object from the same node."""

    def __init__(self, greeting: bytes, config: Config, tls: TlsConfig | None) -> None:
        self._greeting = greeting
        self._config = config
        self._tls = tls
        self._context = tls.client_context() if tls is not None else None
        self._threads = ThreadPoolExecutor(config.bulk_threads, "asyncray bulk receive")
        self._idle: dict[str, list[_Connection]] = {}
        self._busy: dict[_Connection, asyncio.Future[int | None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def fetch(
        self, target: str, key: bytes, offset: int, into: memoryview, progress: Callable[[int], None]
    ) -> int | None:
        request = bulk_wire.Request(key, offset)
        reached = 0

        def reach(count: int) -> None:
            nonlocal reached
            reached = count
            progress(count)

        connection: _Connection | None = self._take_idle(target)
        try:
            if connection is not None:
                try:
                    return await self._fetch(connection, request, into, reach)
                except (OSError, ProtocolError):
                    if connection.answered:
                        raise  # else it may have been closed since it was used last
            connection = await self._dial(target)
            return await self._fetch(connection, request, into, reach)
        except BlockingIOError as error:
            why = f"nothing came for {self._config.bulk_silence_timeout:g} s"
            raise ConnectionFailed(_lost(target, reached, into.nbytes, why)) from error
        except ConnectionFailed:
            raise
        except OSError as error:
            raise ConnectionFailed(_lost(target, reached, into.nbytes, error.strerror or str(error))) from error

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in [connection for idle in self._idle.values() for connection in idle]:
            connection.sock.close()
        self._idle.clear()
        fetching = list(self._busy.values())
        for connection in self._busy:
            connection.end()
        if fetching:
            await asyncio.wait(fetching)
        self._threads.shutdown()  # nothing runs in them: they end at once

    # ----

    async def _fetch(
        self, connection: _Connection, request: bulk_wire.Request, into: memoryview, progress: Callable[[int], None]
    ) -> int | None:
        """Fetches by a thread. However this ends, the thread has ended before."""
        host = parse_target(connection.target)[0]
        name = self._tls.server_name or host if self._tls is not None else ""

        def run() -> int | None:
            if connection.fresh:
                connection.greet(self._greeting, self._context, name, self._config.bulk_silence_timeout)
                connection.fresh = False
            return connection.fetch(request, into, progress)

        work = self._busy[connection] = asyncio.get_running_loop().run_in_executor(self._threads, run)
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            connection.end()
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            if not work.cancelled():
                work.exception()
            connection.sock.close()
            raise
        finally:
            del self._busy[connection]
        if work.exception() is None or isinstance(work.exception(), ObjectLostError):
            self._keep(connection)
        else:
            connection.sock.close()
        try:
            return work.result()
        finally:
            del work  # it keeps what it has raised, which keeps this frame, and the object's memory

    def _take_idle(self, target: str) -> _Connection | None:
        idle = self._idle.get(target)
        if not idle:
            return None
        connection = idle.pop()
        if not idle:
            del self._idle[target]
        return connection

    def _keep(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(connection.target, []).append(connection)
        if self._timer is None:
            self._timer = loop.call_later(self._config.bulk_idle_timeout, self._close_idle)

    def _close_idle(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        limit = loop.time() - self._config.bulk_idle_timeout
        for target, idle in list(self._idle.items()):
            for connection in idle:
                if connection.idle_since <= limit:
                    connection.sock.close()
            idle[:] = [connection for connection in idle if connection.idle_since > limit]
            if not idle:
                del self._idle[target]
        if self._idle:
            self._timer = loop.call_later(self._config.bulk_idle_timeout, self._close_idle)

    async def _dial(self, target: str) -> _Connection:
        address = parse_target(target)
        if isinstance(address, str):
            raise ConnectionFailed(f"{target} is no address of a bulk channel")
        loop = asyncio.get_running_loop()
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                family, kind, protocol, _, name = (await loop.getaddrinfo(*address, type=socket.SOCK_STREAM))[0]
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                prepare_socket(sock)
                set_patience(sock, self._config.bulk_silence_timeout)
                await loop.sock_connect(sock, name)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, TimeoutError):
                limit = self._config.connect_timeout
                raise ConnectionFailed(f"{target} did not answer within {limit:g} s") from error
            if isinstance(error, OSError):
                raise ConnectionFailed(f"cannot connect to {target}: {error.strerror or error}") from error
            if isinstance(error, ValueError):  # what cannot be the name of a host
                raise ConnectionFailed(f"cannot connect to {target!r}: {error}") from error
            raise
        return _Connection(sock, target)


def _lost(target: str, reached: int, size: int, why: str) -> str:
    return f"the bulk connection to {target} was lost after {reached} of {size} bytes: {why}"
