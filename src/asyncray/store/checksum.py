"""Whether bytes are still those that were written."""

from __future__ import annotations

import xxhash


def checksum(data: bytes | bytearray | memoryview) -> int:
    """XXH3, 64 bits. For a thread: it takes 0.15 s for a gigabyte, and releases the interpreter lock.

    It finds what goes wrong on a disk or in memory, not what somebody has forged. zlib's CRC-32 is as good at that,
    but takes longer than the copy into the page cache (measured: 1.2 GB/s against 6.8).
    """
    return xxhash.xxh3_64_intdigest(data)
