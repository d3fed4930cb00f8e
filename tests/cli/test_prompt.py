"""A question at a terminal: the answer is one line, and Ctrl-C or SIGTERM ends the command while it is waited for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tercet.cli import prompt
from tercet.cli.waiting import wait


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal that is standard input."""
    mine, theirs = os.openpty()
    with os.fdopen(theirs, encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        yield mine
    os.close(mine)


def test_the_answer_is_the_line_without_blanks(keyboard: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert prompt.somebody_is_here()
    os.write(keyboard, b"  fsn-01 \nsib-01\n\x04")
    assert [wait(prompt.typed("Which? ")) for _ in range(3)] == ["fsn-01", "sib-01", ""]
    assert capsys.readouterr().err == "Which? " * 3


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize(("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_wait_and_everything_is_cleaned_up(number: signal.Signals, end: type[BaseException]) -> None:
    closed: list[bool] = []

    async def command() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
        try:
            await prompt.typed("Which? ")
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    with pytest.raises(end):
        wait(command())
    assert closed == [True]
