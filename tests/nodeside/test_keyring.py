"""One key for gossip comes to every member, and the others go. test_rotate.py in lab/ does it to real programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tercet.nodeside import nomad_tokens
from tercet.nodeside.api import Api, ApiError
from tercet.nodeside.keyring import KINDS, Keyring

from .delivery import loopback

SECRET = "s-new"


class Agent(ThreadingHTTPServer):
    """An agent of Consul or Nomad with the keyrings of its pools: the first key of a member is the one that it uses."""

    daemon_threads = True

    def __init__(self, kind: str, *pools: list[list[str]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kind, self.pools, self.asked = KINDS[kind], pools, list[str]()
        self.refuses: tuple[str, str] | None = None
        self.tokens = {"a-old": "s-old"}
        self.index, self.reset = 7, ""
        self.others = [{"AccessorID": "t", "Name": "pipeline"}]

    def do(self, call: tuple[str, str], key: str) -> Any:
        members = [member for pool in self.pools for member in pool]
        self.asked.append(f"{call[0]} {key}".strip())
        if call == self.kind.list:
            found = [{"NumNodes": len(pool), "Keys": counted(pool)} for pool in self.pools]
            return found if len(found) > 1 else found[0]
        for member in members:
            if call == self.kind.install and key not in member:
                member.append(key)
            elif call == self.kind.use:
                member.remove(key)
                member.insert(0, key)
            elif call == self.kind.remove:
                assert member[0] != key, "a key in use cannot be removed"
                member.remove(key)
        return {}


def counted(pool: list[list[str]]) -> dict[str, int]:
    keys = [key for member in pool for key in member]
    return {key: keys.count(key) for key in keys}


class Handler(BaseHTTPRequestHandler):
    server: Agent
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        server, body = self.server, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        own = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        accessor = next((each for each, secret in server.tokens.items() if secret == own), "")
        if server.refuses == (self.command, self.path):
            return self._answer(500, "1/3 nodes reported failure")
        if self.path == "/v1/acl/token/self":
            return self._answer(200, json.dumps({"AccessorID": accessor})) if accessor else self._answer(403, "no")
        if self.path == "/v1/acl/bootstrap":
            if server.reset and Path(server.reset).read_text() == str(server.index):
                server.tokens[f"a-{server.index}"] = json.loads(body)["BootstrapSecret"]
                server.index += 1
                return self._answer(200, "{}")
            return self._answer(400, f"ACL bootstrap already done (reset index: {server.index})")
        if self.path == "/v1/acl/tokens":
            named = [{"AccessorID": each, "Name": nomad_tokens.BOOTSTRAPPED} for each in server.tokens]
            return self._answer(200, json.dumps([*named, *server.others]))
        if self.command == "DELETE" and self.path.startswith("/v1/acl/token/"):
            del server.tokens[self.path.rpartition("/")[2]]
            return self._answer(200, "null")
        self._answer(200, json.dumps(server.do((self.command, self.path), json.loads(body or "{}").get("Key", ""))))

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(params=["consul", "nomad"])
def agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    pools = [[["old"], ["old"]], [["old"]]] if request.param == "consul" else [[["old"], ["old"], ["old"]]]
    with Agent(request.param, *pools) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def keyring(agent: Agent, members: int = 3) -> Keyring:
    kind = next(name for name, kind in KINDS.items() if kind == agent.kind)
    return Keyring(Api(loopback(agent.server_address[1]), keep=True), kind, members)


def test_a_new_key_is_installed_then_used_then_the_only_one(agent: Agent) -> None:
    keyring(agent).settle("new")
    assert all(member == ["new"] for pool in agent.pools for member in pool)
    agent.asked.clear()
    keyring(agent).settle("new")
    assert len(agent.asked) == 1, "it only asks"


@pytest.mark.parametrize("refused", ["use", "remove"])
def test_broken_off_in_the_middle_it_is_finished_later(agent: Agent, refused: str) -> None:
    agent.refuses = getattr(agent.kind, refused)
    with pytest.raises(ApiError, match="1/3 nodes reported failure"):
        keyring(agent).settle("new")
    agent.refuses = None
    keyring(agent).settle("new")
    assert all(member == ["new"] for pool in agent.pools for member in pool)


def test_while_a_member_is_away_nothing_changes(agent: Agent) -> None:
    with pytest.raises(ApiError, match="expected 4 members of all gossip pools, found 3"):
        keyring(agent, members=4).settle("new")
    assert not [each for each in agent.asked if "new" in each]


def test_an_agent_that_refuses_is_an_error_without_a_key(agent: Agent) -> None:
    agent.refuses = agent.kind.list
    with pytest.raises(ApiError, match="status 500: 1/3 nodes reported failure"):
        keyring(agent).settle("new")


@pytest.fixture
def nomad() -> Iterator[Agent]:
    with Agent("nomad", [["old"], ["old"], ["old"]]) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def wanted(nomad: Agent, secret: str, **more: Any) -> dict[str, Any]:
    at = loopback(nomad.server_address[1])._replace(authorization=f"Bearer {secret}")
    return {"nomad": at._asdict(), "secret": secret, "wait_s": 5, "key": "new", "members": 3, **more}


def test_a_second_token_of_nomad_is_valid_beside_the_first(nomad: Agent, tmp_path: Path) -> None:
    file = tmp_path / "acl-bootstrap-reset"
    nomad.reset = str(file)
    file.write_text("")
    for _ in range(2):
        assert nomad_tokens.main("add", wanted(nomad, SECRET, reset=str(file))) == 0
    assert nomad.tokens == {"a-old": "s-old", "a-7": SECRET}
    assert not file.exists(), "else it could allow another bootstrap"


def test_a_leader_that_is_elsewhere_is_an_error_in_time(
    nomad: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nomad_tokens.main("add", wanted(nomad, SECRET, reset=str(tmp_path / "r"), wait_s=0)) == 1
    assert "ACL bootstrap already done" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_left_in_nomad_is_removed_and_then_the_note(
    nomad: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = tmp_path / "replaced"
    note.touch()
    nomad.tokens["a-new"] = SECRET
    assert nomad_tokens.main("remove", wanted(nomad, SECRET, file=str(note), members=4)) == 1
    assert note.exists() and "found 3" in capsys.readouterr().err
    assert nomad_tokens.main("remove", wanted(nomad, SECRET, file=str(note))) == 0
    assert nomad.tokens.keys() == {"a-new"} and nomad.pools[0] == [["new"]] * 3 and not note.exists()


def test_a_token_that_is_not_valid_removes_nothing(
    nomad: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nomad_tokens.main("remove", wanted(nomad, SECRET, file=str(tmp_path / "replaced"))) == 1
    assert "status 403" in capsys.readouterr().err
    assert nomad.tokens.keys() == {"a-old"} and nomad.pools[0][0] == ["old"]
