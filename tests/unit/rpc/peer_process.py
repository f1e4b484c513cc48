"""The other process of `test_peer_death.py`: serves or dials, and says what happens, a line each."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import uvloop

from asyncray import messages
from asyncray.rpc.network import GrpcNetwork
from asyncray.rpc.stream import FrameStream

TOKEN = "secret"
ROUTE = "/asyncray.Peer/Session"


def say(*words: object) -> None:
    print(*words, flush=True)


class Reporter:
    """Counts messages; says the count when it is asked by a GET, blocks its loop for the seconds of a BORROW."""

    def __init__(self) -> None:
        self.count = 0

    def on_message(self, stream: FrameStream, message: list[Any]) -> None:
        self.count += 1
        if message[0] == messages.GET:
            say("count", self.count)
        elif message[0] == messages.BORROW:
            say("blocking")
            time.sleep(message[2])
            say("back")

    def on_close(self, stream: FrameStream, error: Exception | None) -> None:
        say("closed", type(error).__name__)


async def serve(path: str) -> None:
    listener = await GrpcNetwork(TOKEN).listen(
        streams={ROUTE: lambda stream: Reporter()}, unix_path=path, host="127.0.0.1"
    )
    say("ready", f"{listener.host}:{listener.port}")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.close()


async def dial(target: str) -> None:
    channel = await GrpcNetwork(TOKEN).connect(target)
    await channel.open(ROUTE, Reporter())
    say("ready", target)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    channel.close()


if __name__ == "__main__":
    uvloop.run({"serve": serve, "dial": dial}[sys.argv[1]](sys.argv[2]))
