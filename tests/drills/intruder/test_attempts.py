"""What counts as refused. tests/lab/test_intruder.py attacks a real platform, also one with holes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tercet.components.firewall.proof import doors
from tercet.components.patroni.declaration import APPLICATION_PASSWORD, SECOND_PASSWORD
from tercet.converge.component import Readings
from tercet.converge.requests import Answer, Http, Request
from tercet.drills.intruder import attempt, logins, users
from tercet.drills.intruder.attempt import Call, not_denied
from tercet.nodeside.endpoint import Endpoint
from tercet.session.session import open_session

AT = Endpoint("127.0.0.1", 9500)
CALLS = (Call("GET", "/v1/acl/tokens"), Call("PUT", "/v1/kv/x?cas=1", "x"))


def answering(monkeypatch: pytest.MonkeyPatch, *rounds: Mapping[str, Answer]) -> list[Any]:
    """The API gives these answers, by call, one after the other; returns what it was asked in each round."""
    left, asked = list(rounds), list[Any]()

    async def ask(_fleet: Any, questions: Mapping[str, Mapping[str, Request]], *, timeout: float) -> Readings:
        assert timeout > 0
        [(node, each)] = questions.items()
        asked.append(list(each))
        return Readings({node: {name: answer for name, answer in left.pop(0).items() if name in each}})

    async def at_once(_seconds: float) -> None:
        pass

    monkeypatch.setattr(attempt, "ask", ask)
    monkeypatch.setattr(attempt.asyncio, "sleep", at_once)
    return asked


DENIED, NO_LEADER = Answer(403, "", "Permission denied"), Answer(500, "", "No cluster leader")
TOKENS, WRITE = "GET /v1/acl/tokens", "PUT /v1/kv/x"


@pytest.mark.parametrize(
    ("rounds", "reached"),
    [
        ([{TOKENS: DENIED, WRITE: DENIED}], ""),
        ([{TOKENS: Answer(200, "[]"), WRITE: DENIED}], "GET /v1/acl/tokens: status 200"),
        ([{TOKENS: DENIED, WRITE: Answer(400, "")}], "PUT /v1/kv/x: status 400"),
        ([{TOKENS: NO_LEADER, WRITE: DENIED}, {TOKENS: DENIED}], ""),
        ([{TOKENS: NO_LEADER, WRITE: DENIED}, {TOKENS: Answer(200, "[]")}], "GET /v1/acl/tokens: status 200"),
        ([{WRITE: DENIED}] * attempt.TRIES, "GET /v1/acl/tokens: no clear answer (the node did not answer)"),
    ],
)
async def test_only_a_denial_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, rounds: list[dict[str, Answer]], reached: str
) -> None:
    asked = answering(monkeypatch, *rounds)
    assert await not_denied(None, "apps-sib-01", AT, CALLS) == reached  # type: ignore[arg-type]
    assert asked[0] == [TOKENS, WRITE] and all(each == [TOKENS] for each in asked[1:])


async def test_a_door_that_is_not_refused_is_reached(monkeypatch: pytest.MonkeyPatch, inventory_file: Path) -> None:
    async with open_session(inventory_file) as session:
        platform = session.platform
        hole, silent = doors(platform, "apps-sib-01", "nobody")[3], "db-sib-01"

        async def ask(_fleet: Any, questions: Mapping[str, Mapping[str, Request]], *, timeout: float) -> Readings:
            assert timeout > 0
            refused = {
                (node, user): "".join(f"refused {door}\n" for door in doors(platform, node, user))
                for node in questions
                for user in users.USERS
            }
            refused["apps-sib-01", "nobody"] = refused["apps-sib-01", "nobody"].replace(f"refused {hole}\n", "")
            return Readings(
                {
                    node: {user: Answer(0, refused[node, user]) for user in users.USERS}
                    for node in questions
                    if node != silent
                }
            )

        monkeypatch.setattr(users, "ask", ask)
        made = await users.attempts(session)
    reached = {each.position: each.reached for each in made if not each.refused}
    assert reached == {
        "nobody on apps-sib-01": f"not refused at {hole}",
        f"nobody on {silent}": "the node did not answer",
        f"postgres on {silent}": "the node did not answer",
    }
    assert len(made) == 18


def test_a_user_may_reach_what_its_name_has_and_nothing_else_elsewhere(platform: Any) -> None:
    nobody, database = (set(doors(platform, "apps-sib-01", user)) for user in users.USERS)
    assert nobody - database == {
        f"{node}:{port}"
        for node, ports in (
            ("127.0.0.1", (8008, 8009, 9500)),
            ("apps-sib-01", (8008, 8009, 9500)),
            ("consul-nomad-fsn-01", (5432, 8008, 8009, 9500)),
            ("apps-fsn-01", (5432, 8008, 8009, 9500)),
            ("db-fsn-01", (5432, 8008, 8009, 9500)),
        )
        for port in ports
    }
    assert not database - nobody


def test_each_user_of_postgresql_is_tried_where_nobody_may_use_it() -> None:
    known = logins.known({"app": APPLICATION_PASSWORD, "app_2": SECOND_PASSWORD}, "data")
    assert sum(not login.admitted for login in known.values()) == 8
    assert all("dbname" in login.options or "replication" in login.options for login in known.values())


def test_a_call_is_named_without_what_makes_it_harmless() -> None:
    assert [str(call) for call in CALLS] == [TOKENS, WRITE]
    assert Http(AT, CALLS[1].path, "PUT", b"x").path.endswith("?cas=1")
