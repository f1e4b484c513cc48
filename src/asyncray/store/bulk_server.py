"""The sending side of the bulk channel: requests are read on the loop, objects are sent by threads that may block."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from asyncray.config import Config
from asyncray.errors import ProtocolError
from asyncray.rpc.sockets import prepare_socket
from asyncray.store import bulk_wire
from asyncray.store.arena import SharedMemory
from asyncray.store.source import Source

_log = logging.getLogger(__name__)

_CONNECTIONS: Final = 1024
"""Of clients that have shown that they know the token."""
_STRANGERS: Final = 256
"""Connections that have yet to do so; one more drives out the oldest, so that they hinder nobody who is quicker."""
_ACCEPT_PAUSE: Final = 1.0
"""Seconds after a connection could not be accepted."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST, and nothing more."""
_SENDFILE_BYTES: Final = 256 * 1024 * 1024
_TLS_BYTES: Final = 4 * 1024 * 1024


def set_patience(sock: socket.socket, seconds: float) -> None:
    """Calls that block fail with BlockingIOError when the peer has neither sent nor taken anything for so long.

    By the kernel, because a timeout of Python's makes the socket a non-blocking one: a system call more for each piece.
    """
    interval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


class TcpBulkServer:
    """Serves on a socket that listens."""

    def __init__(
        self,
        sock: socket.socket,
        greeting: bytes,
        config: Config,
        tls: ssl.SSLContext | None,
        open_source: Callable[[bytes], Source | None],
        arena: SharedMemory,
    ) -> None:
        self.port: int = sock.getsockname()[1]
        self.greeting = greeting
        self.config = config
        self.open_source = open_source
        self.arena = arena
        self.threads = ThreadPoolExecutor(config.bulk_threads, "asyncray bulk send")
        self.connections: dict[_Connection, None] = {}
        """Those that were greeted on."""
        self.strangers: dict[_Connection, None] = {}
        self._tls = tls
        self._sock = sock
        self._arena_file = os.open(arena.path, os.O_RDONLY | os.O_CLOEXEC)
        self._overflow_file = os.open(arena.overflow_path, os.O_RDONLY | os.O_CLOEXEC) if arena.overflow else -1
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        """Until connections are accepted again."""
        self._loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors, say
                _log.warning("cannot accept a bulk connection: %s", error)
                self._loop.remove_reader(self._sock.fileno())  # it stays ready: the loop would do nothing else
                self._pause = self._loop.call_later(_ACCEPT_PAUSE, self._accept_again)
                return
            try:
                # The kernel chooses the sizes of buffers: larger ones, as it goes, than a program may ask for.
                sock.setblocking(False)
                prepare_socket(sock)
                set_patience(sock, self.config.bulk_silence_timeout)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:  # the client has gone already
                sock.close()
                continue
            if len(self.strangers) >= _STRANGERS:
                next(iter(self.strangers)).close()
            connection = _Connection(self, sock)
            self.strangers[connection] = None
            connection.listen()

    def greeted(self, connection: _Connection) -> bool:
        """It has shown the token. False if there are too many of these."""
        if len(self.connections) >= _CONNECTIONS:
            return False
        del self.strangers[connection]
        self.connections[connection] = None
        return True

    def ended(self, connection: _Connection) -> None:
        self.connections.pop(connection, None)
        self.strangers.pop(connection, None)

    def _accept_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def send(self, sock: socket.socket, answer: bytes, source: Source, offset: int) -> None:
        """In a thread. Raises OSError."""
        sock.setblocking(True)
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(self.config.bulk_silence_timeout)
        sock.sendall(answer)
        if source.file is None:
            assert source.offset is not None
            if isinstance(sock, ssl.SSLSocket):
                _send_memory(sock, self.arena.view(source.offset + offset, source.size - offset))
            else:
                in_arena = source.offset < self.arena.capacity
                descriptor = self._arena_file if in_arena else self._overflow_file
                _send_file(sock, descriptor, source.offset + offset, source.size - offset)
            return
        path, start = source.file
        with open(path, "rb", buffering=0) as file:
            if isinstance(sock, ssl.SSLSocket):
                file.seek(start + offset)
                left = source.size - offset
                while left:
                    piece = file.read(min(left, _TLS_BYTES))
                    if not piece:
                        raise OSError(f"{path} is shorter than it should be")
                    sock.sendall(piece)
                    left -= len(piece)
            else:
                _send_file(sock, file.fileno(), start + offset, source.size - offset)

    async def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        sending = [connection.sending for connection in self.connections if connection.sending is not None]
        for connection in [*self.connections, *self.strangers]:
            connection.close()
        if sending:
            await asyncio.wait(sending)
            await asyncio.sleep(0)  # their callbacks close the sources
        self.threads.shutdown()  # nothing runs in them: they end at once
        os.close(self._arena_file)
        if self._overflow_file >= 0:
            os.close(self._overflow_file)


class _Connection:
    """One client. It gets no further than its greeting without the token, and takes a thread only while it is sent
    an object."""

    def __init__(self, server: TcpBulkServer, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._shaken = not isinstance(sock, ssl.SSLSocket)
        self._greeted = False
        self._closing = False
        self._received = bytearray()
        self._writes = False
        self.sending: asyncio.Future[None] | None = None
        self._unconfirmed: Source | None = None
        """Sent to its end: what `sendfile` has sent may still change until the client says that it has it, for sockets
        refer to the very pages."""
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(server.config.bulk_silence_timeout, self.close)
        """Until the client has shown that it knows the token, or has confirmed what it was sent."""

    def listen(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._ready)
        if self._received or isinstance(self._sock, ssl.SSLSocket):  # TLS may have read ahead
            self._loop.call_soon(self._ready)

    def close(self) -> None:
        """What a thread is sending fails at once; the socket is closed when that has ended."""
        self._closing = True
        self._stop_timer()
        if self.sending is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's, after which the thread would go on without TLS.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            return
        if self._sock.fileno() >= 0:
            self._pause()
            if self._unconfirmed is not None:
                with contextlib.suppress(OSError):  # what is still in the socket's buffers must not arrive
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._sock.close()
        self._confirmed()
        self._server.ended(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _confirmed(self) -> None:
        """What was sent is not read here any more."""
        source, self._unconfirmed = self._unconfirmed, None
        if source is not None:
            source.close()

    def _pause(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._want_write(False)

    def _want_write(self, wanted: bool) -> None:
        if wanted != self._writes:
            self._writes = wanted
            if wanted:
                self._loop.add_writer(self._sock.fileno(), self._ready)
            else:
                self._loop.remove_writer(self._sock.fileno())

    def _ready(self) -> None:
        """There may be something to read."""
        if self.sending is not None or self._sock.fileno() < 0:
            return
        try:
            self._want_write(False)
            self._read()
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return
        except ssl.SSLWantWriteError:
            self._want_write(True)
        except (OSError, ProtocolError) as error:
            _log.debug("closing a bulk connection: %s", error)
            self.close()

    def _read(self) -> None:
        """Reads until nothing is left, or there is a request to answer."""
        if not self._shaken:
            assert isinstance(self._sock, ssl.SSLSocket)
            self._sock.do_handshake()
            self._shaken = True
        while self.sending is None:
            wanted = self._wanted()
            if len(self._received) < wanted:
                piece = self._sock.recv(wanted - len(self._received))
                if not piece:
                    self.close()
                    return
                self._received += piece
                continue
            message, self._received = bytes(self._received), bytearray()
            if self._unconfirmed is not None:
                if message != bulk_wire.RECEIVED:
                    raise ProtocolError("a client did not confirm what it was sent")
                self._stop_timer()
                self._confirmed()
            elif self._greeted:
                self._answer(bulk_wire.unpack_request(message))
            elif not hmac.compare_digest(message, self._server.greeting):
                _log.warning("refused a bulk connection without the right token")
                self.close()
                return
            elif not self._server.greeted(self):
                self.close()
                return
            else:
                self._greeted = True
                self._stop_timer()

    def _wanted(self) -> int:
        """Bytes of the message that comes next, as far as they are known."""
        if self._unconfirmed is not None:
            return len(bulk_wire.RECEIVED)
        return bulk_wire.whole_size(self._received) if self._greeted else bulk_wire.GREETING_SIZE

    def _answer(self, request: bulk_wire.Request) -> None:
        source = self._server.open_source(request.key)
        if source is None:
            self._refuse(bulk_wire.ABSENT)
        elif request.offset > source.size:
            source.close()
            self._refuse(bulk_wire.BEYOND)
        else:
            answer = bulk_wire.pack(bulk_wire.Answer(bulk_wire.OK, source.size, source.checksum))
            self._pause()
            try:
                self.sending = self._loop.run_in_executor(
                    self._server.threads, self._server.send, self._sock, answer, source, request.offset
                )
            except BaseException:
                source.close()
                raise
            self.sending.add_done_callback(lambda sent: self._sent(sent, source))

    def _refuse(self, status: int) -> None:
        """The answer is shorter than what any socket's buffer has room for."""
        self._sock.send(bulk_wire.pack(bulk_wire.Answer(status, 0, None)))

    def _sent(self, sent: asyncio.Future[None], source: Source) -> None:
        self.sending, self._unconfirmed = None, source
        error = None if sent.cancelled() else sent.exception()
        if error is not None or sent.cancelled():
            if not isinstance(error, OSError):
                _log.error("sending an object failed: %r", error)
            self._closing = True
        if self._closing:
            self.close()
            return
        self._timer = self._loop.call_later(self._server.config.bulk_silence_timeout, self.close)
        self._sock.setblocking(False)
        self.listen()


def _send_file(sock: socket.socket, descriptor: int, start: int, size: int) -> None:
    end = start + size
    while start < end:
        sent = os.sendfile(sock.fileno(), descriptor, start, min(end - start, _SENDFILE_BYTES))
        if not sent:
            raise OSError("a file is shorter than it should be")
        start += sent


def _send_memory(sock: socket.socket, memory: memoryview) -> None:
    for start in range(0, memory.nbytes, _TLS_BYTES):
        sock.sendall(memory[start : start + _TLS_BYTES])
