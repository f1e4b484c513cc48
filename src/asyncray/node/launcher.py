"""The real `WorkerLauncher`: workers are forked by a zygote."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import msgpack

from asyncray.node.zygote import PACKET_LIMIT
from asyncray.session import process_socket

_log = logging.getLogger(__name__)

StartZygote = Callable[[], socket.socket]
"""Starts a zygote and returns the node's end of its socket."""


class ZygoteLauncher:
    """Keeps one zygote; when it dies, its workers die with it, and a new one is started."""

    def __init__(self, first: socket.socket, restart: StartZygote, socket_dir: str) -> None:
        self._restart = restart
        self._socket_dir = socket_dir
        self._socket = first
        self._launched: set[bytes] = set()
        self._on_exit: Callable[[bytes, str], None] | None = None
        self._stopped = asyncio.Event()

    async def start(self, on_exit: Callable[[bytes, str], None]) -> None:
        self._on_exit = on_exit
        self._watch()

    def launch(self, process_id: bytes, specification: dict[str, object]) -> None:
        self._launched.add(process_id)
        self._send(["launch", process_id, specification])

    def kill(self, process_id: bytes) -> None:
        if process_id in self._launched:
            self._send(["kill", process_id])

    def clean(self, process_id: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):  # it had no time to remove its socket itself
            os.unlink(process_socket(self._socket_dir, process_id))

    async def stop(self) -> None:
        """Closing the socket makes the zygote kill its workers, clean up and end."""
        if self._on_exit is not None:
            self._on_exit = None
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            while await loop.sock_recv(self._socket, PACKET_LIMIT):
                pass
        except ConnectionError:
            pass
        finally:
            self._socket.close()

    def _watch(self) -> None:
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def _send(self, command: list[Any]) -> None:
        try:
            self._socket.send(msgpack.packb(command))
        except BlockingIOError:
            asyncio.get_running_loop().call_later(0.01, self._send, command)
        except OSError:
            pass  # the zygote has just died: `_readable` deals with it

    def _readable(self) -> None:
        while True:
            try:
                packet = self._socket.recv(PACKET_LIMIT)
            except BlockingIOError:
                return
            except ConnectionError:
                packet = b""
            if not packet:
                self._replace()
                return
            _, process_id, cause = msgpack.unpackb(packet)
            self._exited(process_id, cause)

    def _exited(self, process_id: bytes, cause: str) -> None:
        if process_id in self._launched:
            self._launched.discard(process_id)
            self.clean(process_id)
            if self._on_exit is not None:
                self._on_exit(process_id, cause)

    def _replace(self) -> None:
        _log.error("the zygote died; its workers are gone with it, and a new one is started")
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        lost = list(self._launched)
        self._socket = self._restart()
        self._watch()
        for process_id in lost:
            self._exited(process_id, "its zygote died")
