"""What a real server of `dcs` answers just after its start, when it is elected but has not replayed its log yet."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tercet.converge.events import silent
from tercet.image.build import ensure_image
from tercet.inventory.load import load
from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keys import keys_of, text_of
from tests.lab.conftest import make_lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SCOPE = "service/t"
LEADER = f"/v1/kv/{SCOPE}/leader"
LAST = "v9"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Consul, as it is in the image."""
    file = make_lab(tmp_path_factory.mktemp("dcs"), "t-dcs").file
    image = asyncio.run(ensure_image(load(file).settings, file.with_name("tercet.lock.json"), silent))
    return next(each.source for each in image.programs if each.name == "consul")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def server(program: Path, data: Path) -> Iterator[int]:
    """The port of a single server on loopback, which is killed at the end."""
    http, rpc, serf = free_ports(3)
    argv = [str(program), "agent", "-server", "-bootstrap", "-bind=127.0.0.1", f"-data-dir={data}", "-log-level=err"]
    argv += [f"-http-port={http}", f"-server-port={rpc}", f"-serf-lan-port={serf}"]
    argv += ["-serf-wan-port=-1", "-dns-port=-1", "-grpc-tls-port=-1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            yield http
        finally:
            process.kill()


def leads(at: Api) -> bool:
    try:
        return at.ask("GET", "/v1/status/leader", timeout=20).body != b'""'
    except ApiError:
        return False


def write_history(at: Api) -> None:
    """Ten values of the leader key, with so much between them that to replay it takes a while. No snapshot is made."""
    noise = base64.b64encode(b"y" * 200).decode()
    for value in range(10):
        for batch in range(80):
            sets = [{"KV": {"Verb": "set", "Key": f"x/{value}/{batch}/{n}", "Value": noise}} for n in range(60)]
            assert at.ask("PUT", "/v1/txn", json.dumps(sets).encode(), timeout=30).status == 200
        assert at.ask("PUT", LEADER, f"v{value}".encode(), timeout=30).status == 200


def ours(at: Api) -> list[str]:
    """The leader key as the programs on nodes ask for it; [""] if there is none."""
    return [text_of(keys_of(at, SCOPE, 20.0).get("leader", {}))]


def by_default(at: Api) -> list[str]:
    """The leader key as Consul answers by default; [""] if there is none, [] if that was no answer."""
    answer = at.ask("GET", f"{LEADER}?raw", timeout=20.0)
    return {200: [answer.body.decode()], 404: [""]}.get(answer.status, [])


def answers(ask: Callable[[Api], list[str]], port: int) -> set[str]:
    """All different answers from the server's start on, until the last value is known. While a server has no leader, it
    holds a question back for a moment, so many are asked at a time.
    """
    ends = time.monotonic() + 120

    def one(_number: int) -> set[str]:
        at, seen = Api(Endpoint("127.0.0.1", port)), set[str]()
        while LAST not in seen and time.monotonic() < ends:
            try:
                seen |= set(ask(at))
            except (ApiError, *MALFORMED):
                time.sleep(0.02)
        return seen

    with ThreadPoolExecutor(12) as pool:
        return set[str]().union(*pool.map(one, range(12)))


def test_no_answer_that_decides_is_from_the_past(program: Path, tmp_path: Path) -> None:
    with server(program, tmp_path / "data") as port:
        at = Api(Endpoint("127.0.0.1", port))
        wait_until("it leads", lambda: leads(at), 60)
        write_history(at)
    with server(program, tmp_path / "data") as port:
        assert answers(ours, port) == {LAST}
    with server(program, tmp_path / "data") as port:
        past = answers(by_default, port)
    assert past > {LAST}, "the log is too short for this test"
