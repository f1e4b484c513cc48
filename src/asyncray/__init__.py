"""asyncray: tasks, actors and objects on many machines, asyncio from end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncray.lazy import attach

if TYPE_CHECKING:
    from asyncray import errors as errors
    from asyncray import sync as sync
    from asyncray.api.actor import ActorClass as ActorClass
    from asyncray.api.actor import ActorHandle as ActorHandle
    from asyncray.api.cluster import available_resources as available_resources
    from asyncray.api.cluster import cluster_resources as cluster_resources
    from asyncray.api.cluster import init as init
    from asyncray.api.cluster import is_initialized as is_initialized
    from asyncray.api.cluster import nodes as nodes
    from asyncray.api.cluster import shutdown as shutdown
    from asyncray.api.context import get_gpu_ids as get_gpu_ids
    from asyncray.api.context import get_runtime_context as get_runtime_context
    from asyncray.api.objects import cancel as cancel
    from asyncray.api.objects import get as get
    from asyncray.api.objects import kill as kill
    from asyncray.api.objects import put as put
    from asyncray.api.objects import wait as wait
    from asyncray.api.remote import method as method
    from asyncray.api.remote import remote as remote
    from asyncray.api.remote_function import RemoteFunction as RemoteFunction
    from asyncray.worker.object_ref import ObjectRef as ObjectRef

__version__ = "0.1.0"

_HOMES = {
    "ActorClass": "asyncray.api.actor",
    "ActorHandle": "asyncray.api.actor",
    "ObjectRef": "asyncray.worker.object_ref",
    "RemoteFunction": "asyncray.api.remote_function",
    "available_resources": "asyncray.api.cluster",
    "cancel": "asyncray.api.objects",
    "cluster_resources": "asyncray.api.cluster",
    "errors": "asyncray.errors",
    "get": "asyncray.api.objects",
    "get_gpu_ids": "asyncray.api.context",
    "get_runtime_context": "asyncray.api.context",
    "init": "asyncray.api.cluster",
    "is_initialized": "asyncray.api.cluster",
    "kill": "asyncray.api.objects",
    "method": "asyncray.api.remote",
    "nodes": "asyncray.api.cluster",
    "put": "asyncray.api.objects",
    "remote": "asyncray.api.remote",
    "shutdown": "asyncray.api.cluster",
    "sync": "asyncray.sync",
    "wait": "asyncray.api.objects",
}

__getattr__, __dir__, __all__ = attach(globals(), _HOMES)
