"""Where simulated processes listen, and what is said when they cannot be reached."""

from __future__ import annotations

import asyncio
import logging

import pytest

from asyncray.errors import AddressInUse, AuthenticationError, ConnectionFailed
from asyncray.proto import Empty, NodeStub

from ...rpc.endpoints import Recorder, release
from .laboratory import LOCAL, REMOTE, Laboratory, simulated

PATH = "/run/node-1/node"


@simulated
async def test_a_connection_takes_a_round_trip_of_its_kind(lab: Laboratory) -> None:
    server = await lab.serve(unix_path=PATH, host=lab.server.host)
    neighbour = lab.process("worker 1.1", lab.server.host)
    for target, process, latency in ((server.unix, neighbour, LOCAL), (server.tcp, lab.client, REMOTE)):
        start = lab.loop.time()
        await lab.connect(target, process)
        assert lab.loop.time() - start == pytest.approx(2 * latency)


@simulated
async def test_a_unix_socket_is_of_one_machine_only(lab: Laboratory) -> None:
    server = await lab.serve(unix_path=PATH)
    with pytest.raises(ConnectionFailed, match=f"cannot connect to unix:{PATH}: there is no such socket"):
        await lab.connect(server.unix)
    await lab.serve(lab.client, unix_path=PATH)
    await lab.connect(server.unix)


@simulated
async def test_free_ports_are_counted_by_machine(lab: Laboratory) -> None:
    ports = [(await lab.serve()).listener.port for _ in range(3)]
    assert ports == [ports[0], ports[0] + 1, ports[0] + 2]
    assert (await lab.serve(lab.client)).listener.port == ports[0]
    other = lab.process("worker 1.1", "10.0.0.9")
    await lab.serve(other, host=other.host, port=ports[0])
    assert (await lab.serve(other)).listener.port == ports[1]


@simulated
async def test_an_address_in_use_is_reported_and_nothing_is_left(lab: Laboratory) -> None:
    server = await lab.serve(unix_path=PATH, host=lab.server.host)
    with pytest.raises(AddressInUse, match=rf"10\.0\.0\.1:{server.listener.port} is taken: another process"):
        await lab.serve(unix_path=PATH + "2", host=lab.server.host, port=server.listener.port)
    with pytest.raises(AddressInUse, match=f"unix:{PATH} is taken: another process listens there"):
        await lab.serve(unix_path=PATH)
    await lab.serve(unix_path=PATH + "2")
    await lab.connect(server.tcp)


@simulated
async def test_addresses_of_a_listener_that_has_stopped_are_free(lab: Laboratory) -> None:
    server = await lab.serve(unix_path=PATH, host=lab.server.host)
    server.listener.stop_accepting()
    await lab.serve(unix_path=PATH, host=lab.server.host, port=server.listener.port)


@simulated
async def test_addresses_of_a_dead_process_are_free_at_once(lab: Laboratory) -> None:
    server = await lab.serve(unix_path=PATH, host=lab.server.host, port=77)
    lab.server.kill("a test")
    with pytest.raises(ConnectionFailed, match="nothing listens there"):
        await lab.connect(server.tcp)
    await lab.serve(lab.process("node 2", lab.server.host), unix_path=PATH, host=lab.server.host, port=77)


@simulated
async def test_a_host_that_is_not_here_cannot_be_listened_on(lab: Laboratory) -> None:
    with pytest.raises(ConnectionFailed, match=r"cannot listen on 10\.0\.0\.2:0: Cannot assign requested address"):
        await lab.serve(host=lab.client.host)
    with pytest.raises(ConnectionFailed, match="too long"):
        await lab.serve(unix_path="/tmp/" + "x" * 200)
    with pytest.raises(ValueError, match="nothing to listen on"):
        await lab.within(lab.server, lab.endpoints[lab.server].listen())


@simulated
async def test_who_listens_on_the_loopback_is_reached_from_its_machine_only(lab: Laboratory) -> None:
    server = await lab.serve(host="127.0.0.1")
    neighbour = lab.process("worker 1.1", lab.server.host)
    await lab.connect(server.tcp, neighbour)
    await lab.connect(f"localhost:{server.listener.port}", neighbour)
    for target in (server.tcp, f"{lab.server.host}:{server.listener.port}"):
        with pytest.raises(ConnectionFailed, match="nothing listens there"):
            await lab.connect(target)


@simulated
async def test_who_listens_on_all_addresses_is_reached_by_each(lab: Laboratory) -> None:
    server = await lab.serve(host="0.0.0.0")
    await lab.connect(f"127.0.0.1:{server.listener.port}", lab.process("worker 1.1", lab.server.host))
    await lab.connect(f"{lab.server.host}:{server.listener.port}")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("unix:/nowhere/socket", "there is no such socket"),
        ("10.0.0.2:1", "nothing listens there"),
        ("10.0.0.1:1", "nothing listens there"),
        ("10.9.9.9:1", "did not answer within 10 s"),
        ("unix:/tmp/" + "x" * 200, "too long"),
        ("nonsense", "expected host:port or unix:/path"),
    ],
)
@simulated
async def test_what_cannot_be_reached_is_named(lab: Laboratory, target: str, text: str) -> None:
    with pytest.raises(ConnectionFailed, match=text) as error:
        await lab.connect(target)
    assert target in str(error.value)


@simulated
async def test_the_wrong_token_is_refused_with_a_remedy(lab: Laboratory, caplog: pytest.LogCaptureFixture) -> None:
    server = await lab.serve()
    stranger = lab.process("driver 2", "10.0.0.3", token="another")
    channel = await lab.connect(server.tcp, stranger)
    recorder = Recorder()
    with caplog.at_level(logging.WARNING):
        with pytest.raises(AuthenticationError, match=r"ASYNCRAY_TOKEN.*--token-file"):
            await lab.open(channel, recorder, release(1), process=stranger)
        with pytest.raises(AuthenticationError, match=r"ASYNCRAY_TOKEN.*--token-file"):
            await lab.within(stranger, channel.stub(NodeStub).status(Empty()))
    assert len(caplog.records) == 1
    assert not server.accepted
    assert not recorder.ends


@simulated
async def test_peers_are_known_by_their_addresses(lab: Laboratory) -> None:
    server = await lab.serve(unix_path=PATH, host=lab.server.host)
    stream = await lab.open(await lab.connect(server.tcp), Recorder())
    assert stream.remote == server.tcp == server.last.stream.local_address
    assert stream.local_address == server.last.stream.remote
    assert stream.local_address.startswith("10.0.0.2:")
    neighbour = lab.process("worker 1.1", lab.server.host)
    await lab.open(await lab.connect(server.unix, neighbour), Recorder(), process=neighbour)
    assert server.last.stream.remote == f"unix:pid {neighbour.pid}"


@simulated
async def test_a_dial_that_is_cancelled_leaves_no_connection(lab: Laboratory) -> None:
    server = await lab.serve()
    dialling = lab.client.spawn(lab.endpoints[lab.client].connect(server.tcp), "dialling")
    await asyncio.sleep(1.5 * REMOTE)
    assert lab.network._pairs
    dialling.cancel()
    await asyncio.wait([dialling])
    await asyncio.sleep(1)
    assert not lab.network._pairs
