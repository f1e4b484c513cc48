from __future__ import annotations

from typing import Any

from asyncray.control.kv import KeyValue
from asyncray.proto import KvKey, KvKeysRequest, KvPutRequest


def test_a_value_is_kept_unless_overwritten() -> None:
    table = KeyValue()
    assert table.put("functions", b"key", b"one", overwrite=False)
    assert not table.put("functions", b"key", b"two", overwrite=False)
    assert table.get("functions", b"key") == b"one"
    assert not table.put("functions", b"key", b"two", overwrite=True)
    assert table.get("functions", b"key") == b"two"


def test_namespaces_are_apart() -> None:
    table = KeyValue()
    table.put("a", b"key", b"in a", overwrite=False)
    assert table.get("b", b"key") is None
    assert table.put("b", b"key", b"in b", overwrite=False)
    assert table.delete("a", b"key")
    assert not table.delete("a", b"key")
    assert table.get("b", b"key") == b"in b"


def test_keys_are_found_by_prefix() -> None:
    table = KeyValue()
    for key in (b"job/1", b"job/2", b"other"):
        table.put("state", key, b"", overwrite=False)
    assert sorted(table.keys("state", b"job/")) == [b"job/1", b"job/2"]
    assert table.keys("nowhere", b"") == []


async def test_an_empty_value_is_found(cluster: Any) -> None:
    reply = await cluster.calls.kv_put(KvPutRequest(namespace="n", key=b"k", value=b""))
    assert reply.added
    assert (await cluster.calls.kv_get(KvKey(namespace="n", key=b"k"))).found
    assert (await cluster.calls.kv_keys(KvKeysRequest(namespace="n"))).keys == [b"k"]
    assert (await cluster.calls.kv_delete(KvKey(namespace="n", key=b"k"))).deleted
    assert not (await cluster.calls.kv_get(KvKey(namespace="n", key=b"k"))).found
