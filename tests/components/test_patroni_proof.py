"""What `verify` proves of PostgreSQL by readings alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tercet.components.patroni.proof import encrypted, strict
from tercet.converge.component import Passing, Readings, State, Waiting
from tercet.converge.requests import NO_ANSWER, Answer
from tercet.inventory.platform import Platform

PRIMARY = Answer(200, json.dumps({"members": [{"name": "db-sib-03", "role": "leader", "state": "running"}]}))
SET = {"synchronous_mode": "quorum", "synchronous_mode_strict": True}


def judged(platform: Platform, config: Answer, cluster: Answer = PRIMARY) -> State:
    return strict(platform).check(Readings({"db-sib-03": {"patroni": cluster, "proof.config": config}}))


def said(config: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(config))


def test_strict_mode_is_what_the_primarys_patroni_says(platform: Platform) -> None:
    assert judged(platform, said(SET)) == Passing("quorum, strict")
    assert isinstance(judged(platform, said({**SET, "synchronous_mode_strict": "on"})), Passing)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (said({**SET, "synchronous_mode_strict": False}), "synchronous_mode_strict is false on db-sib-03, wanted true"),
        (said({"synchronous_mode": "quorum"}), "synchronous_mode_strict is not set on db-sib-03, wanted true"),
        (said({**SET, "synchronous_mode": True}), "synchronous_mode is true on db-sib-03, wanted quorum"),
        (said({"synchronous_mode_strict": True}), "synchronous_mode is not set on db-sib-03, wanted quorum"),
        (NO_ANSWER, "Patroni on db-sib-03 does not report its configuration (the node did not answer)"),
    ],
)
def test_anything_else_is_named(platform: Platform, config: Answer, reason: str) -> None:
    assert judged(platform, config) == Waiting(reason)


def test_without_a_primary_there_is_nothing_to_say(platform: Platform) -> None:
    assert judged(platform, said(SET), NO_ANSWER) == Waiting("no running primary")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (Answer(0, "4|0"), Passing("7 sessions")),
        (Answer(0, "4|1"), Waiting("1 of 4 sessions from other nodes at db-sib-03 have no TLS")),
        (Answer(0, ""), Waiting("db-sib-03 does not say who is connected (status 0: no output)")),
        (NO_ANSWER, Waiting("db-sib-03 does not say who is connected (the node did not answer)")),
    ],
)
def test_a_session_without_tls_is_counted(platform: Platform, there: Answer, found: State) -> None:
    others = {"db-sib-01": {"proof.tls": Answer(0, "1|0")}, "db-fsn-01": {"proof.tls": Answer(0, "2|0")}}
    assert encrypted(platform).check(Readings({**others, "db-sib-03": {"proof.tls": there}})) == found
