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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "ready"),
        ({"standby": True}, "standby"),
        ({"users": {}}, "user replicator does not exist"),
        (
            {"users": {"replicator": {"verifier": VERIFIER, "settings": None}}},
            f"user replicator does not have {SETTING}",
        ),
        ({"users": {"replicator": {"verifier": None, "settings": [SETTING]}}}, "user replicator has another password"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], said: str) -> None:
    user = {"verifier": VERIFIER, "settings": ["search_path=x", SETTING]}
    found = {"standby": False, "users": {"replicator": user}, **changed}
    assert verdict(found, {"replicator": "correct-horse"}, {"replicator": [SETTING]}) == said
