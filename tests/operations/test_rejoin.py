"""Which of the lost sites come back, also where a return was broken off."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tercet.components.identity.membership import NOTHING, Record
from tercet.converge.events import silent
from tercet.converge.fleet import Completed
from tercet.errors import TercetError
from tercet.observe.beyond import Returned
from tercet.observe.reach import Reach
from tercet.operations import export, rejoin
from tercet.session.session import Session

LOST = Record(("sib-01", "sib-03"), "db-fsn-01", 1, 100)


@pytest.mark.parametrize(
    ("record", "wanted", "back"),
    [
        (LOST, [], ("sib-01", "sib-03")),
        (LOST, ["sib-03"], ("sib-03",)),
        (LOST, ["sib-03", "sib-01"], ("sib-01", "sib-03")),
        (dataclasses.replace(LOST, returning=("sib-03",)), [], ("sib-03",)),
        (NOTHING, ["sib-03"], ()),  # broken off in its last step, or never lost
        (dataclasses.replace(LOST, lost=("sib-01",)), ["sib-03"], ()),
        (NOTHING, [], ()),
    ],
)
def test_which_sites_come_back(opened: Session, record: Record, wanted: list[str], back: tuple[str, ...]) -> None:
    assert rejoin._sites(opened, record, wanted) == back


def test_a_return_that_was_broken_off_is_ended_first(opened: Session) -> None:
    with pytest.raises(TercetError, match="the return of sib-03 to be complete first: `tercet recover rejoin sib-03`"):
        rejoin._sites(opened, dataclasses.replace(LOST, returning=("sib-03",)), ["sib-01"])
    with pytest.raises(TercetError, match="there is no site sib-3"):
        rejoin._sites(opened, LOST, ["sib-3"])


class Node:
    """A node that has these files; it answers to `cat` and to pg_waldump."""

    def __init__(self, *, broken: str = "") -> None:
        self.broken = broken

    async def run(self, node: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout: float) -> Completed:
        del node, stdin, timeout
        name = argv[-1].rpartition("/")[2] if "waldump" not in argv[-1] else "text"
        return Completed(1, b"", b"gone") if name == self.broken else Completed(0, name.encode(), b"")


HAS = Returned("db-sib-01", Reach("db-sib-01", "7", 1, 160), 100, 60, 1, "x", "y", ("0A",), ("02.history",), "COMMIT\n")


def reached(opened: Session, node: Node) -> Session:
    return dataclasses.replace(opened, provider=node)  # type: ignore[arg-type]


async def test_an_export_is_whole_or_absent(opened: Session, tmp_path: Path) -> None:
    to = tmp_path / "lost"
    with pytest.raises(TercetError, match=r"02.history cannot be read: gone. Nothing was moved aside"):
        await export.export(reached(opened, Node(broken="02.history")), [HAS], to, silent)
    assert not (to / "db-sib-01").exists()
    nothing = Returned("db-sib-03", Reach("db-sib-03", "7", 1, 100), 100)
    written = await export.export(reached(opened, Node()), [HAS, nothing], to, silent)
    assert written == (to / "db-sib-01",)
    assert sorted(path.name for path in (to / "db-sib-01").iterdir()) == [
        "02.history",
        "0A",
        "0A.txt.gz",
        "README.txt",
        "commits.txt",
    ]
    assert (to / "db-sib-01" / "commits.txt").read_text() == "COMMIT\n"
    assert await export.export(reached(opened, Node(broken="0A")), [HAS], to, silent) == written, "left alone"
