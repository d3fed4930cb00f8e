"""`tercet down` destroys only after the platform's name was typed, or --yes was said."""

from __future__ import annotations

import pytest

from tercet.cli import prompt
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb

from .conftest import Tool

DESTROYED = ["lock: down", "destroy", "unlock"]


@pytest.fixture
def exists(tool: Tool) -> Tool:
    """The command on a platform that has a container."""
    tool.provider.made = (Change(Verb.DESTROY, Target(Kind.CONTAINER, "db-sib-01"), "DATABASE"),)
    return tool


def types(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Someone sits at a terminal and answers every question so; the questions."""
    asked: list[str] = []

    async def typed(question: str) -> str:
        asked.append(question)
        return text

    monkeypatch.setattr(prompt, "somebody_is_here", lambda: True)
    monkeypatch.setattr(prompt, "typed", typed)
    return asked


@pytest.mark.parametrize(("said", "found"), [("terce", "found terce"), ("", "found nothing"), ("y", "found y")])
def test_another_name_destroys_nothing(exists: Tool, monkeypatch: pytest.MonkeyPatch, said: str, found: str) -> None:
    types(monkeypatch, said)
    status, _, err = exists("down")
    assert status == 1
    assert f"expected tercet, {found}: nothing was changed" in err
    assert exists.provider.done == []


def test_without_a_terminal_it_takes_yes(exists: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "somebody_is_here", lambda: False)
    status, _, err = exists("down")
    assert status == 1
    assert "no terminal to ask on. Add --yes" in err
    assert exists.provider.done == []
    assert exists("down", "--yes")[0] == 0
    assert exists.provider.done == DESTROYED


def test_the_right_name_destroys_after_what_goes_was_listed(exists: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = types(monkeypatch, "tercet")
    status, out, err = exists("down")
    assert status == 0
    assert exists.provider.done == DESTROYED
    assert "platform tercet with its databases" in asked[0]
    assert "destroy container db-sib-01: DATABASE" in err
    assert out == "Platform tercet is gone. Images, the inventory and its secrets stay.\n"


def test_what_never_was_is_not_said_to_be_gone(tool: Tool) -> None:
    assert tool("down", "--yes")[1].startswith("There was no container of platform tercet.")
    assert tool.provider.done == DESTROYED  # a network or folder may have been left all the same
