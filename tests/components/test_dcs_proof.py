"""`verify` proves that only database nodes may write what Patroni reads; test_intruder.py tries more."""

from __future__ import annotations

import pytest

from tercet.components.context import Context
from tercet.components.dcs.proof import denied, proof
from tercet.converge.component import Passing, Readings, Waiting
from tercet.converge.requests import Answer, Http

DENIED = Answer(403, "Permission denied")


def test_every_node_tries_and_no_try_could_change_anything(context: Context) -> None:
    tries = {name: batch["proof.tokens"] for name, batch in proof(context).asked.items()}
    assert tries.keys() == {node.name for node in context.platform.nodes}
    for name, tried in tries.items():
        assert isinstance(tried, Http) and tried.method == "PUT" and tried.path.endswith("/leader?cas=1")
        assert tried.at.authorization == ("Bearer anonymous" if name.startswith("db-") else "")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (DENIED, ""),
        (Answer(200, "false"), "db-2 may write what Patroni reads"),
        (Answer(500, "No cluster leader"), "db-2 does not say whether it may write (status 500: No cluster leader)"),
        (Answer(-1, "", "Connection refused"), "db-2 does not say whether it may write (Connection refused)"),
    ],
)
def test_a_node_that_may_write_or_does_not_say_is_named(answer: Answer, found: str) -> None:
    readings = Readings({"db-1": {"proof.tokens": DENIED}, "db-2": {"proof.tokens": answer}}, away=frozenset({"db-3"}))
    state = denied(["db-1", "db-2", "db-3"]).check(readings)
    assert found in state.reason if isinstance(state, Waiting) else state == Passing("2 nodes")
    assert isinstance(state, Waiting) is bool(found)
