"""`tercet down` destroys only after the platform's name was typed, or --yes was said."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tercet.cli.commands import down
from tercet.cli.invocation import Invocation
from tercet.cli.main import main
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb


@dataclass
class Down:
    """The command on a platform that destroys nothing but notes that it would have."""

    doomed: tuple[Change, ...] = (Change(Verb.DESTROY, Target(Kind.CONTAINER, "db-sib-01"), "DATABASE"),)
    destroyed: list[str] = field(default_factory=list)

    def session(self, _call: Invocation) -> Any:
        async def doomed() -> tuple[Change, ...]:
            return self.doomed

        return SimpleNamespace(platform=SimpleNamespace(name="proposals"), provider=SimpleNamespace(doomed=doomed))

    def work(self, _call: Invocation, _work: Any) -> None:
        self.destroyed.append("proposals")

    def run(self, *, yes: bool = False) -> int:
        return main(["down", *(["--yes"] if yes else [])])


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Down:
    made = Down()
    monkeypatch.setattr(down, "session_of", made.session)
    monkeypatch.setattr(down, "with_progress", made.work)
    return made


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Someone sits at a terminal and answers every question so; the questions."""
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return text

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", answer)
    return asked


@pytest.mark.parametrize(("said", "found"), [("proposal", "found proposal"), ("", "found nothing"), ("y", "found y")])
def test_another_name_destroys_nothing(
    command: Down, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, found: str
) -> None:
    types(monkeypatch, said)
    assert command.run() == 1
    assert f"expected proposals, {found}: nothing was changed" in capsys.readouterr().err
    assert command.destroyed == []


def test_without_a_terminal_it_takes_yes(
    command: Down, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    assert command.run() == 1
    assert "say --yes, nobody is here to ask" in capsys.readouterr().err
    assert command.destroyed == []
    assert command.run(yes=True) == 0
    assert command.destroyed == ["proposals"]


def test_the_right_name_destroys_after_what_goes_was_listed(
    command: Down, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = types(monkeypatch, " proposals\n")
    assert command.run() == 0
    assert command.destroyed == ["proposals"]
    assert "platform proposals with its databases" in asked[0]
    out, err = capsys.readouterr()
    assert "destroy container db-sib-01: DATABASE" in err
    assert out == "Platform proposals is gone. Images, the inventory and its secrets stay.\n"


def test_what_never_was_is_not_said_to_be_gone(command: Down, capsys: pytest.CaptureFixture[str]) -> None:
    command.doomed = ()
    assert command.run(yes=True) == 0
    assert capsys.readouterr().out.startswith("There was no container of platform proposals.")
    assert command.destroyed == ["proposals"]  # a network or folder may have been left all the same
