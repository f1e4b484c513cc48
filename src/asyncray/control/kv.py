"""The key-value table: byte strings by namespace and key. Functions and classes are published in it."""

from __future__ import annotations

from asyncray.rpc.service import Manager


class KeyValue(Manager):
    """In memory; it lasts as long as the control plane."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[bytes, bytes]] = {}

    def put(self, namespace: str, key: bytes, value: bytes, *, overwrite: bool) -> bool:
        """Whether the key is new. An existing value is kept unless `overwrite`."""
        entries = self._namespaces.setdefault(namespace, {})
        added = key not in entries
        if added or overwrite:
            entries[key] = value
        return added

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self._namespaces.get(namespace, {}).get(key)

    def delete(self, namespace: str, key: bytes) -> bool:
        """Whether there was something to delete."""
        entries = self._namespaces.get(namespace, {})
        deleted = entries.pop(key, None) is not None
        if deleted and not entries:
            del self._namespaces[namespace]
        return deleted

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        return [key for key in self._namespaces.get(namespace, {}) if key.startswith(prefix)]
