"""Views of shared memory that live on when all else ends: nothing crashes."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from .programs import run_program

BEGIN = """
import os, pathlib, signal, sys, threading
import numpy as np, psutil, pyarrow
import asyncray.sync as ray

LENGTH = 1 << 20

@ray.remote
def values():
    n = np.arange(LENGTH)
    return [n, n.astype("M8[s]"), pyarrow.table({"n": n}), memoryview(n)]

def total(value):
    if isinstance(value, pyarrow.Table):
        return value["n"].to_numpy().sum()
    return np.asarray(value).view("i8").sum()

def all_there(views):
    return all(total(view) == LENGTH * (LENGTH - 1) // 2 for view in views)

ray.init(num_cpus=1)
views = ray.get(values.remote())
assert all_there(views)
"""

SCENES = {
    "shut down": "ray.shutdown()",
    "shut down, and begun again": """
        ray.shutdown()
        ray.init(num_cpus=1)
        more = ray.get([ray.put(np.full(LENGTH, n)) for n in range(5)])
        assert all_there(views)
        ray.shutdown()
        assert [array[0] for array in more] == [0, 1, 2, 3, 4]
    """,
    "the daemon is killed": """
        for process in psutil.Process().children():
            process.kill()
            process.wait()
        assert all_there(views)
        ray.shutdown()
    """,
    "nobody shuts down": "",
    "read at exit": """
        import atexit
        atexit.register(lambda: all_there(views) or os._exit(3))
        ray.shutdown()
    """,
    "read while modules are torn down": """
        class Late:
            def __init__(self, view):
                self.view = view
            def __del__(self):
                self.view[-1]
        ray.shutdown()
        sys.late = [Late(view) for view in views if isinstance(view, np.ndarray)]
        loop = [views]
        loop.append(loop)
    """,
    "read in a thread that goes on": """
        stop = threading.Event()
        def read():
            while not stop.is_set():
                assert all_there(views)
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        ray.shutdown()
        del views[0]
    """,
}


@pytest.mark.parametrize("scene", SCENES)
def test_views_outlive_the_cluster(scene: str, tmp_path: Path) -> None:
    end = "assert all_there(views)\nprint('read')\n"
    program = f"{BEGIN}{dedent(SCENES[scene])}\n{end}"
    assert run_program(tmp_path, program) == "read\n"


def test_tensors_outlive_the_cluster(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="installed by the extra `torch`")
    program = """
        import torch
        import asyncray.sync as ray

        ray.init(num_cpus=1)
        tensor = ray.get(ray.put(torch.arange(1 << 20)))
        ray.shutdown()
        assert tensor[-1] == (1 << 20) - 1
        tensor += 1
        assert tensor[0] == 1
        print('read')
    """
    assert run_program(tmp_path, program) == "read\n"


ENDS = {
    "its actor is let go": "del keeper",
    "the cluster is left": "ray.shutdown()",
    "the daemon is killed": "for process in psutil.Process().children(): process.kill()",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_worker_that_reads_views_until_its_end_does_not_crash(end: str, tmp_path: Path) -> None:
    keeper = """
        @ray.remote
        class Keeper:
            def keep(self, views, path):
                import faulthandler
                self.views = views
                self.crash = open(path, "w")
                faulthandler.enable(self.crash)
                def read():
                    while True:
                        all_there(views)
                threading.Thread(target=read, daemon=True).start()
                return os.getpid()

        keeper = Keeper.remote()
        worker = psutil.Process(ray.get(keeper.keep.remote(views, os.path.abspath("crash"))))
    """
    outcome = """
        worker.wait(20)
        assert all_there(views)
        ray.shutdown()
        print(repr(pathlib.Path("crash").read_text()))
    """
    program = f"{BEGIN}{dedent(keeper)}{ENDS[end]}\n{dedent(outcome)}"
    assert run_program(tmp_path, program) == "''\n"
