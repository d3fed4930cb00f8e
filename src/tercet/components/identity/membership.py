"""A record of the lost sites on the remaining nodes: an operator whose inventory differs is refused.

`tercet recover` writes the key `lost_sites` into the inventory of the operator who runs it. A second operator, whose
file does not have the key, would bring back the configuration of all sites and so let the lost sites in again. An
operator who writes the key by hand would shut healthy sites out.

Invariant: only `tercet recover` changes the record, before it changes the platform. `apply` copies it to new nodes. If
no site is lost, there is no record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from tercet.components.context import Context
from tercet.components.identity.fingerprint import FOLDER
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Deferred, Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.lost import line_of
from tercet.inventory.platform import Node, Platform, Role

RECORD = f"{FOLDER}/lost-sites.json"
READ = Exec(("sh", "-c", f"if [ -e {RECORD} ]; then cat {RECORD}; else echo '{{}}'; fi"))
_WRITE = text_of(__package__, "membership-write.sh", FOLDER=FOLDER, RECORD=RECORD)


@dataclass(frozen=True, slots=True)
class Record:
    """`lost`: the lost sites, in the inventory's order. `survivor`: the database node that continued alone from `end`,
    a position in the WAL of `timeline`; WAL of other nodes after that position is only on these nodes. `since`: the
    time, for people. `returning`: sites that `tercet recover rejoin` is taking back; the inventory may list them or
    not.
    """

    lost: tuple[str, ...] = ()
    survivor: str = ""
    timeline: int = 0
    end: int = 0
    since: str = ""
    returning: tuple[str, ...] = ()


NOTHING = Record()


def record_of(answer: Answer) -> Record | None:
    """A node's answer to READ; None if it did not answer or the answer is not a record. NOTHING: it has no record."""
    said = answer.json()
    try:
        record = Record(**{**said, **{key: tuple(said.get(key, ())) for key in ("lost", "returning")}})
    except TypeError:
        return None
    return record


def writing(record: Record) -> Exec:
    """Write the node's record, completely or not at all. NOTHING removes it."""
    return Exec(("sh", "-c", _WRITE), stdin=_content(record), timeout=20)


def _content(record: Record) -> bytes:
    return b"" if record == NOTHING else json.dumps(asdict(record), indent=2).encode() + b"\n"


def known(answers: Mapping[str, Answer]) -> Record:
    """The platform's record from the nodes' answers to READ. All nodes have the same record, unless writing it was
    interrupted: then the record with more lost sites counts.
    """
    records = [record for answer in answers.values() if (record := record_of(answer)) is not None]
    return max(records, key=lambda record: (len(record.lost), len(record.returning)), default=NOTHING)


def agree(platform: Platform, answers: Mapping[str, Answer]) -> None:
    """Raise TercetError if the inventory and the platform differ about the lost sites. `answers` are the nodes' answers
    to READ; nodes that did not answer are ignored.
    """
    record = known(answers)
    lost = [site.name for site in platform.lost_sites]
    if record.returning:
        raise TercetError(
            f"expected the return of {', '.join(record.returning)} to be complete, found that it was broken off: "
            f"`tercet recover rejoin {' '.join(record.returning)}` goes on from there. Nothing was changed"
        )
    if lost == list(record.lost):
        return
    if not record.lost:
        if not any(record_of(answer) is not None for answer in answers.values()):
            return  # no node answered, so nothing can be changed anyway
        raise TercetError(
            f"expected the platform to know that {', '.join(lost)} {'is' if len(lost) == 1 else 'are'} lost, as the "
            f"inventory says, found that no node does. Nothing was changed\n  Remove `lost_sites` from the inventory. "
            f"If all sites but one are lost for good, `tercet recover site-alone SITE` writes it and does the rest"
        )
    raise TercetError(
        f"expected {line_of(record.lost)} in the inventory, found "
        f"{line_of(lost) if lost else 'none of that'}: since {record.since} the platform works without "
        f"{', '.join(record.lost)}. Nothing was changed\n  Write that line. To take a site back, see `tercet recover "
        f"rejoin`"
    )


@dataclass(frozen=True, slots=True)
class Membership:
    """The record on each remaining control and database node."""

    context: Context
    name: str = "membership"
    after: tuple[str, ...] = ("fingerprint",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node not in holders(self.context.platform):
            return
        lost = tuple(site.name for site in self.context.platform.lost_sites)
        others = [other for other in holders(self.context.platform) if other != node]

        def copy(answers: Mapping[str, Answer]) -> bytes:
            record = known(answers)
            if record.lost != lost:
                raise LookupError(f"they have {', '.join(record.lost) or 'none'}")
            return _content(record)

        yield Object(
            f"record of the lost sites on {node.name}",
            READ,
            lambda answer: _differs(lost, answer),
            (Exec(("sh", "-c", _WRITE), stdin=Deferred("the others have it", {o.name: READ for o in others}, copy)),),
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()


def holders(platform: Platform) -> Sequence[Node]:
    """The nodes that have the record."""
    return tuple(node for node in platform.nodes if node.role in (Role.CONTROL, Role.DB))


def _differs(lost: tuple[str, ...], answer: Answer) -> str | None:
    record = record_of(answer)
    if record is None:
        return f"unknown ({answer.why()})" if lost else None
    return None if record.lost == lost else f"it says {', '.join(record.lost) or 'none'}, wanted {', '.join(lost)}"
