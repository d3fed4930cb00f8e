"""`plan --diff`: which lines differ, and that no secret is among them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tercet.converge.plan import Change, Held, Plan, Step
from tercet.converge.requests import NO_ANSWER, Answer, Deferred
from tercet.converge.resources import File
from tercet.converge.target import Verb
from tercet.operations import differences as module
from tercet.operations.differences import LARGEST, LONGEST, difference, differences
from tercet.operations.support.redact import Redactor
from tercet.session.session import Session

REDACTOR = Redactor({"replication": "s3cret-word"})


def of(wanted: str, found: str, *, secret: bool = False) -> tuple[str, ...]:
    return difference(File("/etc/x", wanted.encode(), secret=secret), Answer(0, found), REDACTOR)


def test_the_lines_that_differ_are_shown_with_one_line_around_them() -> None:
    assert of("a\nb\nc\nd\n", "a\nb\nC\nd\n") == ("@@ -2,3 +2,3 @@", "  b", "- C", "+ c", "  d")


def test_a_file_with_the_same_content_has_no_lines() -> None:
    assert of("a\n", "a\n") == ()


def test_no_secret_is_shown_of_either_side() -> None:
    assert of("p: s3cret-word\n", "p: s3cret-word\nq: 1\n") == ("@@ -1,2 +1 @@", "  p: ********", "- q: 1")
    shown = of("p: s3cret-word\n", "p: somebody-elses-word\n", secret=True)
    assert shown == ("@@ -1 +1 @@", "- (not shown: the file holds secrets)", "+ p: ********")


def test_a_long_difference_is_cut_and_says_how_much() -> None:
    lines = of("".join(f"{number}\n" for number in range(100)), "")
    assert len(lines) == LONGEST + 1 and lines[-1] == "(61 more lines)"  # the first line is @@


@pytest.mark.parametrize(
    ("file", "found", "said"),
    [
        (File("/x", Deferred("addresses are known", {}, lambda _: b"")), Answer(0), "(its content is known once addre"),
        (File("/x", b"a"), NO_ANSWER, "(it cannot be read: the node did not answer)"),
        (File("/x", b"a"), Answer(0, "x" * (LARGEST + 1)), "(it is too long to be compared)"),
    ],
)
def test_what_cannot_be_compared_says_why(file: File, found: Answer, said: str) -> None:
    (line,) = difference(file, found, REDACTOR)
    assert line.startswith(said)


async def test_only_files_that_are_updated_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[str]] = {}

    async def ask(_fleet: object, questions: dict[str, dict[str, object]], *, timeout: float) -> SimpleNamespace:
        asked.update({node: list(batch) for node, batch in questions.items()})
        return SimpleNamespace(get=lambda node, path: Answer(0, f"{node} {path}\n"))

    def line(verb: Verb, path: str) -> Change:
        file = File(path, b"wanted\n")
        return Change(verb, file.target, "content differs", file)

    changes = (line(Verb.UPDATE, "/a"), line(Verb.CREATE, "/b"))
    todo = Plan(
        steps=(Step("consul", "db-1", changes), Step("consul", "db-2", changes, unknown=True)),
        waiting=(Held("dcs", "db-3", (line(Verb.UPDATE, "/c"),), ("fsn-01",), "a member is away"),),
    )
    monkeypatch.setattr(module, "ask", ask)
    monkeypatch.setattr(module, "known_secrets", lambda *_: {})
    monkeypatch.setattr(module, "derived", lambda _: {})
    session = SimpleNamespace(provider=None, context=SimpleNamespace(secrets=None))
    found = await differences(cast("Session", session), todo)
    assert asked == {"db-1": ["/a"], "db-3": ["/c"]}
    assert found[("db-1", "/a")] == ("@@ -1 +1 @@", "- db-1 /a", "+ wanted")
