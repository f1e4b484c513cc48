"""Ray: what `ray microbenchmark` does not measure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import ray
from harness import (
    Samples,
    idle_memory,
    idle_processor_time,
    main,
    of_programs,
    resident_bytes,
    row,
    slices,
    throughput,
    throughput_of_fresh,
)
from ray.cluster_utils import Cluster

MEDIUM = 50_000_000
LARGE = 500_000_000
SHARED = 100_000_000
READERS = 4
KILLED = 3
STORE = 2_000_000_000
CREATED = 20
ARGUMENTS = 10_000
RETURNS = 3_000
QUEUED = 10_000
IMPORT = """
import time
start = time.perf_counter()
import ray
print(time.perf_counter() - start)
"""
LIFE = """
import time
import ray
start = time.perf_counter()
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
@ray.remote
def small_value(): return b"ok"
ray.get(small_value.remote())
answered = time.perf_counter()
ray.shutdown()
ended = time.perf_counter()
print({})
"""


@ray.remote
def small_value() -> bytes:
    return b"ok"


@ray.remote
def size_of(array: numpy.ndarray) -> int:
    return array.nbytes


@ray.remote
def array_of_ones(size: int) -> numpy.ndarray:
    return numpy.ones(size // 8)


@ray.remote
def number_of(*values: object) -> int:
    return len(values)


@ray.remote(num_returns=RETURNS)
def many() -> range:
    return range(RETURNS)


@ray.remote(num_cpus=0)
class Server:
    def small_value(self) -> bytes:
        return b"ok"


@contextmanager
def connected(cores: int | None = None) -> Iterator[None]:
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def several_nodes(readers: int) -> Iterator[Cluster]:
    """The driver's node, and others whose tasks ask for a resource of their own."""
    settings = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        for number in range(readers):
            cluster.add_node(**settings, resources={f"reader {number}": 1})
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def on_reader(number: int, function: object) -> object:
    return function.options(resources={f"reader {number}": 0.5})


@row("actors created and answering (20 at once)")
def actors_created(seconds: float) -> Samples:
    def rate(length: float) -> float:
        rounds, taken = 0, 0.0
        while taken < length:
            start = time.perf_counter()
            servers = [Server.remote() for _ in range(CREATED)]
            ray.get([server.small_value.remote() for server in servers])
            taken += time.perf_counter() - start
            rounds += 1
            for server in servers:
                ray.kill(server)
        return CREATED * rounds / taken

    with connected():
        return [rate(length) for length in slices(seconds)][1:]


@row("put + get of 50 MB")
def put_and_get(seconds: float) -> Samples:
    with connected():
        array = numpy.ones(MEDIUM // 8)
        return throughput(lambda: ray.get(ray.put(array)), seconds, MEDIUM / 1e9)


@row("500 tasks that take one 50 MB object")
def tasks_with_object(seconds: float) -> Samples:
    with connected():
        ref = ray.put(numpy.ones(MEDIUM // 8))
        return throughput(lambda: ray.get([size_of.remote(ref) for _ in range(500)]), seconds, 500)


@row("500 MB from another node")
def from_another_node(seconds: float) -> Samples:
    def fresh() -> ray.ObjectRef:
        ref = on_reader(0, array_of_ones).remote(LARGE)
        ray.wait([ref], fetch_local=False)
        return ref

    with several_nodes(1):
        return throughput_of_fresh(fresh, ray.get, seconds, LARGE / 1e9)


def read_on(count: int, ref: ray.ObjectRef) -> None:
    """The object is read on so many nodes at once."""
    ray.get([on_reader(number, size_of).remote(ref) for number in range(count)])


@row("broadcast of 100 MB to 4 nodes")
def broadcast(seconds: float) -> Samples:
    array = numpy.ones(SHARED // 8)
    with several_nodes(READERS):
        return throughput_of_fresh(
            lambda: ray.put(array), lambda ref: read_on(READERS, ref), seconds, READERS * SHARED / 1e9
        )


@row("broadcast of 100 MB to 4 nodes: time")
def broadcast_time(seconds: float) -> Samples:
    return [READERS * SHARED / 1e9 / rate for rate in broadcast(seconds)]


@row("broadcast of 100 MB to 4 nodes: time, as transfers to one node")
def broadcast_beside_one(seconds: float) -> Samples:
    array = numpy.ones(SHARED // 8)

    def measure(length: float) -> float:
        taken = {1: [], READERS: []}
        end = time.perf_counter() + length
        while time.perf_counter() < end or not taken[1]:
            for count, times in taken.items():
                ref = ray.put(array)
                start = time.perf_counter()
                read_on(count, ref)
                times.append(time.perf_counter() - start)
        return statistics.fmean(taken[READERS]) / statistics.fmean(taken[1])

    with several_nodes(READERS):
        return [measure(length) for length in slices(seconds)][1:]


@row("a killed node noticed after")
def killed_node(seconds: float) -> Samples:
    def notice() -> float:
        node = cluster.add_node(num_cpus=1)
        start = time.perf_counter()
        cluster.remove_node(node, allow_graceful=False)
        while sum(entry["Alive"] for entry in ray.nodes()) > 1:
            time.sleep(0.005)
        return time.perf_counter() - start

    with several_nodes(0) as cluster:
        return [notice() for _ in range(KILLED)]


@row("10,000 object arguments to a task")
def many_arguments(seconds: float) -> Samples:
    with connected():
        refs = [ray.put(number) for number in range(ARGUMENTS)]
        return throughput(lambda: ray.get(number_of.remote(*refs)), seconds, ARGUMENTS)


@row("3,000 returns of a task")
def many_returns(seconds: float) -> Samples:
    with connected():
        return throughput(lambda: ray.get(many.remote()), seconds, RETURNS)


@row("get of 10,000 objects")
def get_many(seconds: float) -> Samples:
    with connected():
        refs = [ray.put(number) for number in range(ARGUMENTS)]
        return throughput(lambda: ray.get(refs), seconds, ARGUMENTS)


@row("10,000 queued tasks")
def queued_tasks(seconds: float) -> Samples:
    with connected():
        ray.get([small_value.remote() for _ in range(1000)])
        start = time.perf_counter()
        ray.get([small_value.remote() for _ in range(QUEUED)])
        return [QUEUED / (time.perf_counter() - start)]


@row("10,000 queued tasks: driver memory per task")
def queued_memory(seconds: float) -> Samples:
    with connected():
        ray.get([small_value.remote() for _ in range(1000)])
        before = resident_bytes()
        refs = [small_value.remote() for _ in range(QUEUED)]
        queued = resident_bytes()
        ray.get(refs)
        return [(queued - before) / QUEUED]


@row("memory of an idle 2-CPU cluster and its driver")
def memory(seconds: float) -> Samples:
    with connected(2):
        ray.get([small_value.remote() for _ in range(100)])
        return idle_memory()


@row("idle processor time")
def processor_time(seconds: float) -> Samples:
    with connected(2):
        ray.get([small_value.remote() for _ in range(100)])
        return idle_processor_time()


@row("import")
def import_time(seconds: float) -> Samples:
    return of_programs(IMPORT)


@row("init to first result")
def first_result(seconds: float) -> Samples:
    return of_programs(LIFE.format("answered - start"), times=3)


@row("shutdown")
def shutdown(seconds: float) -> Samples:
    return of_programs(LIFE.format("ended - answered"), times=3)


if __name__ == "__main__":
    main()
