"""What a real Consul server answers just after its start, when it is elected but has not replayed its log yet."""

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
from typing import Any

import pytest

from tercet.converge.events import silent
from tercet.image.build import ensure_image
from tercet.inventory.load import load
from tercet.nodeside import acl
from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keys import keys_of, text_of
from tests.lab.conftest import make_lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

SCOPE = "service/t"
LEADER = f"/v1/kv/{SCOPE}/leader"
LAST = "v9"
MANAGEMENT = "11111111-2222-3333-4444-555555555555"
ACCESS = {"enabled": True, "default_policy": "deny", "tokens": {"initial_management": MANAGEMENT}}
GONE = "a token that was deleted"


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
    settings = data.with_suffix(".json")
    settings.write_text(json.dumps({"acl": ACCESS}))
    argv = [str(program), "agent", "-server", "-bootstrap", "-bind=127.0.0.1", f"-data-dir={data}", "-log-level=err"]
    argv += [f"-http-port={http}", f"-server-port={rpc}", f"-serf-lan-port={serf}"]
    argv += ["-serf-wan-port=-1", "-dns-port=-1", "-grpc-tls-port=-1", f"-config-file={settings}"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            yield http
        finally:
            process.kill()


def api(port: int) -> Api:
    return Api(Endpoint("127.0.0.1", port, authorization=f"Bearer {MANAGEMENT}"))


def leads(at: Api) -> bool:
    """It has a leader that knows the token for management."""
    try:
        return at.ask("GET", "/v1/acl/tokens?consistent", timeout=20).status == 200
    except ApiError:
        return False


def write_noise(at: Api, name: str, batches: int) -> None:
    """So much that to replay it takes a while. No snapshot is made."""
    noise = base64.b64encode(b"y" * 200).decode()
    for batch in range(batches):
        sets = [{"KV": {"Verb": "set", "Key": f"x/{name}/{batch}/{n}", "Value": noise}} for n in range(60)]
        assert at.ask("PUT", "/v1/txn", json.dumps(sets).encode(), timeout=30).status == 200


def write_history(at: Api, batches: int) -> None:
    """Ten values of the leader key, and a token that is deleted near the end."""
    token = acl.ask(at, "PUT", "/v1/acl/token", {"Description": GONE})
    for value in range(10):
        write_noise(at, str(value), batches)
        assert at.ask("PUT", LEADER, f"v{value}".encode(), timeout=30).status == 200
    acl.ask(at, "DELETE", f"/v1/acl/token/{token['AccessorID']}")


def ours(at: Api) -> list[str]:
    """The leader key as the programs on nodes ask for it; [""] if there is none."""
    return [text_of(keys_of(at, SCOPE, 20.0).get("leader", {}))]


def by_default(at: Api) -> list[str]:
    """The leader key as Consul answers by default; [""] if there is none, [] if that was no answer."""
    answer = at.ask("GET", f"{LEADER}?raw", timeout=20.0)
    return {200: [answer.body.decode()], 404: [""]}.get(answer.status, [])


def our_tokens(at: Api) -> list[str]:
    """Whether the deleted token is there, as acl.py asks."""
    return [_whether(acl.ask(at, "GET", "/v1/acl/tokens"))]


def tokens_by_default(at: Api) -> list[str]:
    """The same as Consul answers by default; [] if that was no answer."""
    answer = at.ask("GET", "/v1/acl/tokens", timeout=20.0)
    return [_whether(answer.json())] if answer.status == 200 else []


def _whether(tokens: list[dict[str, Any]]) -> str:
    return GONE if any(each["Description"] == GONE for each in tokens) else LAST


def answers(ask: Callable[[Api], list[str]], port: int) -> set[str]:
    """All different answers from the server's start on, until the last value is known. While a server has no leader, it
    holds a question back for a moment, so many are asked at a time.
    """
    ends = time.monotonic() + 120

    def one(_number: int) -> set[str]:
        at, seen = api(port), set[str]()
        while LAST not in seen and time.monotonic() < ends:
            try:
                seen |= set(ask(at))
            except (ApiError, *MALFORMED):
                time.sleep(0.02)
        return seen

    with ThreadPoolExecutor(12) as pool:
        return set[str]().union(*pool.map(one, range(12)))


@pytest.fixture(scope="module")
def data(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a server whose log is so long that by default it answers from the past after its start."""
    for batches in (80, 160, 320):
        folder = tmp_path_factory.mktemp("server")
        with server(program, folder) as port:
            at = api(port)
            wait_until("it leads", lambda at=at: leads(at), 60)  # type: ignore[misc]
            write_history(at, batches)
        past = list[set[str]]()
        for default in (by_default, tokens_by_default):
            with server(program, folder) as port:
                past.append(answers(default, port))
        if all(each > {LAST} for each in past):
            return folder
    raise AssertionError(f"no log is long enough for this test: {past}")


@pytest.mark.parametrize("ask", [ours, our_tokens], ids=["keys", "tokens"])
def test_no_answer_that_decides_is_from_the_past(program: Path, data: Path, ask: Callable[[Api], list[str]]) -> None:
    with server(program, data) as port:
        assert answers(ask, port) == {LAST}
