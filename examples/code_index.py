"""Indexes Python source on a cluster of this machine's CPUs, and compares with the same work in one process.

    python examples/code_index.py [PATH] [--limit N] [--cpus N] [--top N]

This is what `asyncray demo` runs. `asyncray/demo/cluster_index.py` is the part to read: tasks that start tasks, actors
that gather what they find, and a driver that follows them with `await`.
"""

from __future__ import annotations

import sys

from asyncray.demo import main

if __name__ == "__main__":
    sys.exit(main())
