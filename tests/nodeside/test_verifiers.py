"""Whether a password fits a verifier, and what is said of PostgreSQL's own users."""

from __future__ import annotations

from typing import Any

import pytest

from tercet.nodeside.verifiers import fits, verdict

# Made by PostgreSQL 15 with `ALTER ROLE replicator PASSWORD 'correct-horse'`.
VERIFIER = (
    "SCRAM-SHA-256$4096:yOBHwGY5tooCpm4kQzqx0g==$HaEqsx2HxXdXl6V4PxX9N5cQ5dmmT/9KCXjiUq4H4f4="
    ":vOaQusVGnNpkCwGmaG5M2wvsYYFvlkfS776pNBqcWJc="
)
SETTING = "work_mem=4MB"


def test_a_verifier_of_postgresql_fits_its_password_only() -> None:
    assert fits("correct-horse", VERIFIER)
    assert not fits("correct-horsf", VERIFIER)


@pytest.mark.parametrize(
    "verifier", [None, "", "md5abc", VERIFIER.replace("SCRAM-SHA-256", "SCRAM-SHA-1"), VERIFIER[:40]]
)
def test_nothing_fits_what_is_no_verifier(verifier: str | None) -> None:
    assert not fits("correct-horse", verifier)


WANTED = {
    "password": "correct-horse",
    "settings": [SETTING],
    "member_of": ["pg_monitor"],
    "connections": 5,
}
USER = {
    "verifier": VERIFIER,
    "settings": ["search_path=x", SETTING],
    "member_of": ["pg_monitor", "pg_signal_backend"],
    "connections": 5,
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "ready"),
        ({"settings": None}, f"user replicator does not have {SETTING}"),
        ({"verifier": None, "settings": None}, "user replicator has another password"),
        ({"member_of": None}, "user replicator is not a member of pg_monitor"),
        ({"connections": -1}, "user replicator may have -1 connections, wanted 5"),
    ],
)
def test_what_is_wrong_with_a_user_is_named(changed: dict[str, Any], said: str) -> None:
    assert verdict({"standby": False, "users": {"replicator": {**USER, **changed}}}, {"replicator": WANTED}) == said


def test_what_is_not_wanted_is_not_checked() -> None:
    bare = {"verifier": VERIFIER, "settings": None, "member_of": None, "connections": -1}
    assert verdict({"standby": False, "users": {"x": bare}}, {"x": {"password": "correct-horse"}}) == "ready"


def test_a_standby_and_a_user_that_does_not_exist_are_named() -> None:
    assert verdict({"standby": True, "users": {}}, {"replicator": WANTED}) == "standby"
    assert verdict({"standby": False, "users": {}}, {"replicator": WANTED}) == "user replicator does not exist"
