"""exec, shell and psql become another program; doctor, support, aside and consul recover say what they found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tercet.components.patroni.aside import AsideStatus
from tercet.errors import TercetError
from tercet.operations import aside as asides
from tercet.operations import doctor, recover
from tercet.operations.support import bundle
from tercet.providers.preflight import Check
from tercet.session.session import Session

from .conftest import Tool

ASIDE = AsideStatus(
    node="db-fsn-01",
    name="tercet.aside-1",
    path="/var/lib/postgresql/17/tercet.aside-1",
    bytes=31_830_016,
    moved="2026-11-26T16:23:00+00:00",
    until="2026-12-10T16:23:00+00:00",
    reason="could not find previous WAL record",
    warning="",
)


class BecameError(Exception):
    """This process would be another program now."""


@pytest.fixture
def became(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    lines: list[list[str]] = []

    def execvp(file: str, line: list[str]) -> None:
        assert file == line[0]
        assert tool.provider.closed == len(lines) + 1, "no connection is left to the other program"
        lines.append(line)
        raise BecameError

    monkeypatch.setattr(os, "execvp", execvp)
    return lines


def test_exec_and_shell_enter_the_node(tool: Tool, became: list[list[str]]) -> None:
    for words in (["exec", "db-sib-01", "--", "ls", "-l", "--", "*"], ["shell", "apps-fsn-01"]):
        with pytest.raises(BecameError):
            tool(*words)
    assert became == [["enter", "db-sib-01", "ls", "-l", "--", "*"], ["enter", "apps-fsn-01"]]


def test_psql_enters_the_apps_node_and_no_password_is_in_its_line(tool: Tool, became: list[list[str]]) -> None:
    with pytest.raises(BecameError):
        tool("psql", "sib-03", "--", "-c", "SELECT 1")
    (line,) = became
    assert line[:3] == ["enter", "apps-sib-03", "psql"] and line[-2:] == ["-c", "SELECT 1"]
    assert "passfile=" in line[3] and "password=" not in line[3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exec", "db-sib-1", "--", "ls"], "there is no node db-sib-1: expected one of world, consul-nomad-sib-01"),
        (["shell", "x"], "there is no node x: expected one of "),
        (["psql", "sib-02"], "there is no site sib-02: expected one of sib-01, sib-03, fsn-01"),
        (["consul", "recover", "sib-02"], "there is no site sib-02: expected one of sib-01, sib-03, fsn-01"),
        (["aside", "remove", "x", "y"], "there is no node x: expected one of "),
        (["drill", "run", "site-killed", "--site", "x"], "there is no site x: expected one of sib-01, sib-03, fsn-01"),
        (["drill", "run", "site-kiled"], "expected the name of a drill, found 'site-kiled'; did you mean site-killed?"),
    ],
)
def test_a_name_that_is_not_there_is_refused_before_anything(
    tool: Tool, became: list[list[str]], words: list[str], said: str
) -> None:
    status, out, err = tool(*words)
    assert (status, out) == (1, "")
    assert err.startswith(f"tercet: {said}")
    assert became == [] and tool.provider.done == []


@pytest.mark.parametrize(("state", "status", "ready"), [("failed", 1, False), ("warning", 0, True)])
def test_doctor_fails_only_where_up_would(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, state: Any, status: int, ready: bool
) -> None:
    async def examine(session: Session) -> tuple[Check, ...]:
        return Check("all", "clock", "ok", "in step"), Check("sib-01", "storage", state, "none", "make one")

    monkeypatch.setattr(doctor, "examine", examine)
    left, out, _ = tool("doctor")
    assert left == status
    assert out.startswith("all sites\n  ✓ clock  in step\nsib-01\n") and "      make one\n" in out
    assert ("1 of 2 checks failed" in out) != ready
    left, out, _ = tool("doctor", "--json")
    assert (left, json.loads(out)["ready"]) == (status, ready)


def test_support_names_the_archive_and_what_is_not_in_it(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    async def write_bundle(session: Session, path: Path, emit: object) -> tuple[str, ...]:
        asked.append(path)
        return ("db-fsn-01: no answer",)

    monkeypatch.setattr(bundle, "write_bundle", write_bundle)
    status, out, _ = tool("support", "-o", "case.tar.gz")
    assert status == 0
    missing, wrote = out.splitlines()
    assert missing == "not in it: db-fsn-01: no answer" and wrote.startswith("Wrote case.tar.gz. ")
    status, out, _ = tool("support", "--json")
    assert status == 0
    assert json.loads(out) == {"file": str(asked[1]), "missing": ["db-fsn-01: no answer"]}
    assert asked[0] == Path("case.tar.gz") and asked[1].name.startswith("tercet-support-2")


def test_aside_list_refuses_to_guess_where_a_node_is_silent(tool: Tool) -> None:
    status, out, err = tool("aside", "list")
    assert (status, out) == (1, "")
    assert err.startswith("tercet: expected every database node to report what was moved aside there, found: ")


def test_aside_list_and_remove(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    found, removed = [ASIDE], []

    async def listed(session: Session) -> list[AsideStatus]:
        return found

    async def remove(session: Session, aside: AsideStatus) -> None:
        removed.append(aside)

    monkeypatch.setattr(asides, "listed", listed)
    monkeypatch.setattr(asides, "remove", remove)
    assert "db-fsn-01 tercet.aside-1, 31.8 MB, kept until 2026-12-10 16:23 UTC" in tool("aside", "list")[1]
    assert json.loads(tool("aside", "list", "--json")[1]) == [ASIDE.model_dump()]
    status, _, err = tool("aside", "remove", "db-fsn-01", "tercet.aside-1")
    assert (status, removed) == (1, []) and "no terminal to ask on. Add --yes" in err
    status, _, err = tool("aside", "remove", "db-fsn-01", "other", "--yes")
    assert (status, removed) == (1, []) and "expected one of tercet.aside-1" in err
    status, out, _ = tool("aside", "remove", "db-fsn-01", "tercet.aside-1", "--yes")
    assert (status, removed) == (0, [ASIDE]) and out.startswith("Removed 31.8 MB of database files")
    found.clear()
    assert tool("aside", "list") == (0, "Nothing was moved aside.\n", "")


def test_consul_recover_hands_on_force_and_says_who_leads(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    async def recovered(session: Session, site: str, emit: object, *, force: bool) -> str:
        asked.append((site, force))
        if not force:
            raise TercetError("dc2 works: nothing to recover")
        return "consul-nomad-sib-03"

    monkeypatch.setattr(recover, "recover", recovered)
    assert tool("consul", "recover", "sib-03") == (1, "", "tercet: dc2 works: nothing to recover\n")
    status, out, _ = tool("consul", "recover", "sib-03", "--force")
    assert status == 0 and out.startswith("consul-nomad-sib-03 leads its datacenter again.")
    assert json.loads(tool("consul", "recover", "sib-03", "--force", "--json")[1])["leader"] == "consul-nomad-sib-03"
    assert asked == [("sib-03", False), ("sib-03", True), ("sib-03", True)]
