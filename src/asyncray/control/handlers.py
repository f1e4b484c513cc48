"""The unary calls of the Control service: from protobuf to the managers and back."""

from __future__ import annotations

import msgpack

from asyncray.control.actor_table import ActorRecord
from asyncray.control.actors import Actors
from asyncray.control.jobs import Jobs
from asyncray.control.kv import KeyValue
from asyncray.control.node_table import NodeRecord
from asyncray.control.nodes import Nodes
from asyncray.proto import (
    ActorInfo,
    ActorName,
    ActorSpec,
    ControlBase,
    CreateActorReply,
    Empty,
    GetActorReply,
    JobInfo,
    KillActorRequest,
    KvDeleteReply,
    KvGetReply,
    KvKey,
    KvKeysReply,
    KvKeysRequest,
    KvPutReply,
    KvPutRequest,
    ListActorsReply,
    ListJobsReply,
    ListNodesReply,
    NodeInfo,
)
from asyncray.resources import to_amounts


class ControlHandlers(ControlBase):
    """Nothing here decides anything; the streams of the service are the managers' own."""

    def __init__(self, nodes: Nodes, jobs: Jobs, actors: Actors, key_value: KeyValue) -> None:
        self._nodes = nodes
        self._jobs = jobs
        self._actors = actors
        self._key_value = key_value

    async def kv_put(self, kv_put_request: KvPutRequest) -> KvPutReply:
        request = kv_put_request
        added = self._key_value.put(request.namespace, request.key, request.value, overwrite=request.overwrite)
        return KvPutReply(added=added)

    async def kv_get(self, kv_key: KvKey) -> KvGetReply:
        value = self._key_value.get(kv_key.namespace, kv_key.key)
        return KvGetReply(found=value is not None, value=value or b"")

    async def kv_delete(self, kv_key: KvKey) -> KvDeleteReply:
        return KvDeleteReply(deleted=self._key_value.delete(kv_key.namespace, kv_key.key))

    async def kv_keys(self, kv_keys_request: KvKeysRequest) -> KvKeysReply:
        return KvKeysReply(keys=self._key_value.keys(kv_keys_request.namespace, kv_keys_request.prefix))

    async def list_nodes(self, empty: Empty) -> ListNodesReply:
        return ListNodesReply(nodes=[_node_info(record) for record in self._nodes.table.all()])

    async def list_jobs(self, empty: Empty) -> ListJobsReply:
        return ListJobsReply(
            jobs=[
                JobInfo(
                    job_id=record.job_id,
                    alive=record.alive,
                    driver_pid=record.pid,
                    started=record.started,
                    entrypoint=record.entrypoint,
                )
                for record in self._jobs.all()
            ]
        )

    async def create_actor(self, actor_spec: ActorSpec) -> CreateActorReply:
        try:
            record = self._actors.create(actor_spec)
        except ValueError as error:
            return CreateActorReply(error=f"the actor {actor_spec.class_name} cannot be created: {error}")
        if record.actor_id == actor_spec.actor_id:
            return CreateActorReply(created=True)
        clash = f"the name {record.name!r} is taken in namespace {record.namespace!r}: by the actor {record}"
        return CreateActorReply(error=clash, existing=_actor_info(record))

    async def get_actor(self, actor_name: ActorName) -> GetActorReply:
        record = self._actors.table.named(actor_name.namespace, actor_name.name)
        return GetActorReply(found=False) if record is None else GetActorReply(found=True, actor=_actor_info(record))

    async def list_actors(self, empty: Empty) -> ListActorsReply:
        return ListActorsReply(actors=[_actor_info(record) for record in self._actors.table])

    async def kill_actor(self, kill_actor_request: KillActorRequest) -> Empty:
        request = kill_actor_request
        self._actors.kill(request.actor_id, graceful=request.graceful, cause=request.cause)
        return Empty()


def _node_info(record: NodeRecord) -> NodeInfo:
    return NodeInfo(
        node_id=record.node_id,
        address=record.address,
        alive=record.alive,
        hostname=record.hostname,
        pid=record.pid,
        total=to_amounts(record.total),
        available=to_amounts(record.available),
        labels=record.labels,
        session_dir=record.session_dir,
        death_cause=record.death_cause,
        head=record.head,
    )


def _actor_info(record: ActorRecord) -> ActorInfo:
    life = record.life
    return ActorInfo(
        actor_id=record.actor_id,
        state=life.state,
        address=msgpack.packb(life.address) if life.address is not None else b"",
        death_cause=life.cause if not life.reachable else "",
        class_name=record.class_name,
        name=record.name,
        namespace=record.namespace,
        job_id=record.job_id,
        node_id=life.node_id or b"",
        pid=life.pid,
        class_id=record.class_id,
        owner=record.owner,
    )
