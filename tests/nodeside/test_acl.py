"""The tokens of `dcs` become what tercet wants. test_intruder.py does the same to a real Consul."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tercet.nodeside import acl
from tercet.nodeside.api import Api
from tercet.nodeside.endpoint import Endpoint

from .delivery import loopback

MAY = "Bearer m"


class Consul(ThreadingHTTPServer):
    """The part of Consul's API that has policies and tokens. `late` is the number of requests until it has a leader."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.policies: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, Any]] = {acl.ANONYMOUS: {"AccessorID": acl.ANONYMOUS, "Description": ""}}
        self.late, self.says = 0, (200, "")
        self.changes: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Consul
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.late -= 1
        if self.server.says[0] != 200 or self.server.says[1]:
            return self._answer(*self.server.says)
        if self.server.late >= 0:
            return self._answer(500, "No cluster leader")
        if self.headers["Authorization"] != MAY:
            return self._answer(403, "Permission denied")
        path, _, mode = self.path.partition("?")
        assert mode == "consistent"
        of, _, which = path.removeprefix("/v1/acl/").partition("/")
        match of:
            case "policies":  # without their rules, as Consul does
                found: Any = [{k: v for k, v in p.items() if k != "Rules"} for p in self.server.policies.values()]
            case "tokens":
                found = list(self.server.tokens.values())
            case "token" if which == "self":
                found = {"AccessorID": "own"}
            case "policy":
                found = self.server.policies[which]
            case _:
                found = self.server.tokens[which]
        self._answer(200, json.dumps(found))

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        of, _, which = self.path.removeprefix("/v1/acl/").partition("/")
        self.server.changes.append(f"PUT {of} {body.get('Name') or body['Description']}")
        if of == "policy":
            which = which or f"id-of-{body['Name']}"
            self.server.policies[which] = {"ID": which, **body}
        else:
            names = {each["Name"] for each in self.server.policies.values()}
            if not {each["Name"] for each in body["Policies"]} <= names:
                return self._answer(500, "No such ACL policy")
            self.server.tokens[body["AccessorID"]] = body
        self._answer(200, "{}")

    def do_DELETE(self) -> None:
        of, _, which = self.path.removeprefix("/v1/acl/").partition("/")
        self.server.changes.append(f"DELETE {of} {which}")
        del (self.server.policies if of == "policy" else self.server.tokens)[which]
        self._answer(200, "true")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def consul() -> Iterator[Consul]:
    with Consul() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def wanted(consul: Consul, *nodes: str, wait_s: float = 0) -> dict[str, Any]:
    at = loopback(consul.server_address[1])._replace(authorization=MAY)
    named = [
        {"AccessorID": f"of-{n}", "SecretID": f"s {n}", "Description": f"tercet {n}", "Policies": [n]} for n in nodes
    ]
    anonymous = {"AccessorID": acl.ANONYMOUS, "Description": "tercet no token", "Policies": ["catalogue"]}
    policies = [{"Name": n, "Description": f"tercet {n}", "Rules": f"of-{n}"} for n in (*nodes, "catalogue")]
    return {
        "consul": at._asdict(),
        "mark": "tercet ",
        "wait_s": wait_s,
        "policies": policies,
        "tokens": [*named, anonymous],
    }


def gone(wants: dict[str, Any]) -> list[str]:
    """What is left over, removed."""
    api = Api(Endpoint(**wants["consul"]))
    changes = list(acl.leftovers(api, wants))
    for change in changes:
        acl.make(api, change)
    return [change.what for change in changes]


def said(verb: str, wants: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    status = acl.main(verb, wants)
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


def test_what_is_missing_is_said_and_then_created(consul: Consul, capsys: pytest.CaptureFixture[str]) -> None:
    wants = wanted(consul, "db-1", "apps-1")
    differences = [
        "there is no policy for db-1",
        "there is no policy for apps-1",
        "there is no policy for catalogue",
        "there is no token for tercet db-1",
        "there is no token for tercet apps-1",
        "the token for tercet no token has other policies",
    ]
    assert said("check", wants, capsys) == (0, differences, "")
    assert consul.changes == []
    assert said("set", wants, capsys) == (0, differences, "")
    assert len(consul.changes) == 6
    assert said("check", wants, capsys) == (0, [], "")
    assert consul.tokens["of-db-1"]["SecretID"] == "s db-1"


def test_a_changed_policy_and_a_token_with_other_policies_are_put_back(
    consul: Consul, capsys: pytest.CaptureFixture[str]
) -> None:
    wants = wanted(consul, "db-1")
    said("set", wants, capsys)
    consul.policies["id-of-db-1"]["Rules"] = 'operator = "write"'
    consul.tokens["of-db-1"]["Policies"].append({"Name": "global-management"})
    differences = ["the policy of db-1 has other rules", "the token for tercet db-1 has other policies"]
    assert said("set", wants, capsys) == (0, differences, "")
    assert said("check", wants, capsys) == (0, [], "")
    assert consul.policies["id-of-db-1"]["Rules"] == "of-db-1"


def test_those_of_a_node_that_is_gone_are_removed_and_those_of_others_are_not(
    consul: Consul, capsys: pytest.CaptureFixture[str]
) -> None:
    said("set", wanted(consul, "db-1", "db-2"), capsys)
    consul.tokens["operator's"] = {"AccessorID": "operator's", "Description": "of an operator", "Policies": []}
    consul.policies["p"] = {"ID": "p", "Name": "theirs", "Description": "", "Rules": ""}
    consul.changes.clear()
    differences = ["the token of db-2 is not wanted", "the policy of db-2 is not wanted"]
    assert said("set", wanted(consul, "db-1"), capsys) == (0, differences, "")
    assert consul.changes == ["DELETE token of-db-2", "DELETE policy id-of-db-2"]


def test_replaced_tokens_stay_until_they_are_left_over(consul: Consul, capsys: pytest.CaptureFixture[str]) -> None:
    wants = wanted(consul, "db-1")
    said("set", wants, capsys)
    for accessor, description in {
        "own": "tercet management",
        "former": acl.INITIAL,
        "earlier": "tercet management",
        "old-db-1": "tercet db-1",
        "m": "of an operator",
    }.items():
        consul.tokens[accessor] = {"AccessorID": accessor, "Description": description, "Policies": []}
    assert said("set", wants, capsys) == (0, [], "")
    assert gone(wants) == [f"a former token of {each} is valid" for each in (acl.INITIAL, "management", "db-1")]
    assert set(consul.tokens) == {acl.ANONYMOUS, "of-db-1", "own", "m"}


def test_it_waits_for_a_leader(consul: Consul, capsys: pytest.CaptureFixture[str]) -> None:
    consul.late = 3
    status, out, _ = said("check", wanted(consul), capsys)
    assert (status, out) == (1, [])
    status, out, _ = said("set", wanted(consul, wait_s=10), capsys)
    assert status == 0 and len(out) == 2


@pytest.mark.parametrize(
    ("says", "out", "err"),
    [
        ((401, "ACL support disabled"), ["ACL support disabled"], ""),
        ((403, "Permission denied"), [], "status 403: Permission denied"),
        ((500, "No cluster leader"), [], "status 500: No cluster leader"),
        ((200, "{"), [], "not JSON"),
        ((200, '["x"]'), [], "does not say"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "set"])
def test_an_answer_that_makes_no_sense_changes_nothing(
    consul: Consul, capsys: pytest.CaptureFixture[str], says: tuple[int, str], out: list[str], err: str, verb: str
) -> None:
    consul.says = says
    status, printed, problem = said(verb, wanted(consul, "db-1"), capsys)
    assert status == 1 and printed == out and err in problem
    assert consul.changes == []
