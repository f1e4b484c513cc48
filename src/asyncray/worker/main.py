"""A worker process, from the fork to the end: the loop in a second thread, user code on the main one."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
import threading
from typing import Any

import uvloop

from asyncray.config import DEFAULT, Config
from asyncray.errors import AsyncrayError, NodeDiedError
from asyncray.logs import structured_handler
from asyncray.platform import Platform
from asyncray.rpc.network import GrpcNetwork
from asyncray.session import tls_config
from asyncray.worker import current
from asyncray.worker.execution import Executor
from asyncray.worker.node_link import NodeLink
from asyncray.worker.output import ForwardedOutput
from asyncray.worker.runtime import Membership, Runtime
from asyncray.worker.watchdog import LoopWatchdog

_log = logging.getLogger(__name__)


def run(specification: dict[str, Any]) -> int:
    """Runs the worker that `specification` describes until it is told to end; returns its exit code."""
    _redirect_output(specification["log_dir"])
    _configure_logging(specification["log_dir"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which decides
    worker = _Worker(specification)
    loop_thread = threading.Thread(target=worker.run_loop, name="asyncray loop", daemon=True)
    loop_thread.start()
    worker.started.wait()
    if worker.executor is None:
        return 1
    worker.executor.run_main()
    loop_thread.join(DEFAULT.stop_timeout)
    return worker.executor.exit_code


class _Worker:
    def __init__(self, specification: dict[str, Any]) -> None:
        self._specification = specification
        self.started = threading.Event()
        self.executor: Executor | None = None

    def run_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except AsyncrayError as error:
            _log.error("%s", error)
        finally:
            self.started.set()

    async def _serve(self) -> None:
        specification = self._specification
        platform = Platform(GrpcNetwork(specification["token"], DEFAULT, tls_config(specification["tls"])))
        runtime, executor = new_worker(platform, DEFAULT, specification)
        await runtime.start()
        watchdog = LoopWatchdog(DEFAULT.loop_watchdog)
        sys.stdout = ForwardedOutput(sys.stdout, functools.partial(executor.forward_output, "stdout"))
        sys.stderr = ForwardedOutput(sys.stderr, functools.partial(executor.forward_output, "stderr"))
        executor.outputs = (sys.stdout, sys.stderr)
        self.executor = executor
        self.started.set()
        await runtime.wait_stop_requested()
        watchdog.stop()
        executor.stop_main()
        await runtime.stop()


def new_worker(platform: Platform, config: Config, specification: dict[str, Any]) -> tuple[Runtime, Executor]:
    """The parts of a worker process, not started yet. On its loop."""
    membership = Membership(
        node_target=specification["node_target"],
        control_target=specification["control_target"],
        node_id=specification["node_id"],
        socket_dir=specification["socket_dir"],
        host=specification["host"],
        node_name=specification["node_name"],
    )
    runtime = Runtime(platform, config, membership, "worker", specification["process_id"], None)
    executor = runtime.executor = Executor(runtime)
    runtime.nodes.on_lost.append(functools.partial(_node_lost, runtime))
    current.set_runtime(runtime)
    return runtime, executor


def _node_lost(runtime: Runtime, link: NodeLink, cause: NodeDiedError) -> None:
    """Without its node a worker is nobody's: it ends at once, whatever user code is doing."""
    if link is runtime.nodes.own and not runtime.stopping:
        _log.info("%s", cause)
        runtime.log_flush()
        runtime.platform.exit(1)


def _redirect_output(log_dir: str) -> None:
    """What this process prints goes to a file of its own, line by line."""
    descriptor = os.open(f"{log_dir}/worker-{os.getpid()}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target in (1, 2):
        os.dup2(descriptor, target)
    os.close(descriptor)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.close(devnull)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def _configure_logging(log_dir: str) -> None:
    own = logging.getLogger("asyncray")  # the root logger is the user's to configure
    own.addHandler(structured_handler(f"{log_dir}/worker-{os.getpid()}.log", "worker"))
    own.setLevel(logging.INFO)
    own.propagate = False
