"""The chain of a failover: the cost of each link between the last and the first acknowledged write. Pure.

    last acknowledged write → failure seen by gossip → session gone → members asked → leader key taken →
    promoted → check passing → template rendered → proxy ready → first acknowledged write

The time of a link is the first matching event after the failure. Its cost is the time since the link before it, so the
costs add up exactly to the gap. A link that no component reported is left out (each kind of failure has its own links),
and its cost is part of the next link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tercet.drills.journal import Fault, Record
from tercet.drills.judge.availability import Gap
from tercet.inventory.journals import What


@dataclass(frozen=True, slots=True)
class Link:
    """`cost` seconds were spent until `t` (second of the drill), when `title` was reached on `node`."""

    title: str
    t: float
    cost: float
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Chain:
    """One site's way out of a gap."""

    site: str
    start: float
    end: float
    links: tuple[Link, ...]

    @property
    def costliest(self) -> Link:
        """The link that cost the most; of equal ones the first."""
        return max(self.links, key=lambda link: link.cost)


ASKED = "members asked"


@dataclass(frozen=True, slots=True)
class _Step:
    title: str
    fits: Callable[[Record], bool]


def _steps(site: str, victims: frozenset[str], primary: str) -> tuple[_Step, ...]:
    """`victims`: the nodes whose failure matters; `primary`: the primary afterwards ("" if unknown)."""

    def what(record: Record, *kinds: What) -> bool:
        return record.what in kinds

    def on_primary(record: Record) -> bool:
        return not primary or record.node == primary

    def at_site(record: Record) -> bool:
        return record.node.endswith(f"-{site}")

    return (
        _Step(
            "failure seen by gossip",
            lambda r: what(r, What.MEMBER_FAILED) and r.component == "dcs" and r.subject in victims,
        ),
        _Step("crash seen by Patroni", lambda r: what(r, What.CRASHED) and r.component == "patroni"),
        _Step("killed by the watchdog", lambda r: what(r, What.KILLED)),
        _Step("fenced", lambda r: what(r, What.FENCED)),
        _Step("switchover asked", lambda r: what(r, What.SWITCHOVER_ASKED)),
        _Step("old primary demoted", lambda r: what(r, What.DEMOTED)),
        _Step(
            "session gone",
            lambda r: what(r, What.HEALTH_CRITICAL) and r.component == "dcs" and r.subject in victims,
        ),
        _Step("dcs leader", lambda r: what(r, What.LEADER_ELECTED) and r.component == "dcs"),
        _Step("leader key free", lambda r: what(r, What.LOCK_FREE, What.LOCK_RELEASED)),
        _Step("leader key taken", lambda r: what(r, What.LOCK_TAKEN) and on_primary(r)),
        # Logged when an answer arrives or the wait for it ends. All members are asked at once, so the last such event
        # before the key is taken ends this link.
        _Step(ASKED, lambda r: what(r, What.PEER_SILENT, What.PEER_ANSWERED) and on_primary(r)),
        _Step("promoted", lambda r: what(r, What.READY) and r.component == "postgresql" and on_primary(r)),
        _Step(
            "check passing",
            lambda r: (
                what(r, What.CHECK_SYNCED) and r.component == "dcs" and on_primary(r) and r.subject.endswith("-primary")
            ),
        ),
        _Step("counts for commits", lambda r: what(r, What.SYNC_CANDIDATE) and on_primary(r)),
        _Step("writable again", lambda r: what(r, What.WRITABLE) and on_primary(r)),
        _Step("template rendered", lambda r: what(r, What.RENDERED) and at_site(r)),
        _Step("proxy ready", lambda r: what(r, What.PROXY_READY) and at_site(r)),
    )


# A step that counts only after another one: a template that was rendered because the dead primary vanished does not
# know the new primary yet.
_AFTER = {
    "template rendered": ("leader key taken",),
    "proxy ready": ("template rendered",),
    "check passing": ("promoted",),
    "promoted": ("leader key taken",),
    "counts for commits": ("promoted",),
}


def chain_of(gap: Gap, records: Sequence[Record], faults: Iterable[Fault], primary: str, old: str = "") -> Chain:
    """The chain through one gap of writes. `old` led before it, `primary` leads at its end."""
    victims = frozenset(
        node for fault in faults if fault.action == "injected" and fault.t <= gap.end for node in fault.nodes
    )
    if old in victims:  # if a whole site is gone, the others wait for the primary's own node
        victims = frozenset({old})
    # The fault may begin before the last successful write was acknowledged.
    window = sorted(
        (record for record in records if gap.start - 0.2 <= record.t <= gap.end), key=lambda record: record.t
    )
    moments: dict[str, Record] = {}
    for step in _steps(gap.site, victims, primary):
        earliest = max(
            (moments[title].t for title in _AFTER.get(step.title, ()) if title in moments), default=gap.start - 0.2
        )
        fitting = [record for record in window if record.t >= earliest and step.fits(record)]
        if step.title == ASKED:
            taken = moments.get("leader key taken")
            fitting = [record for record in fitting if taken is None or record.t <= taken.t][-1:]
        if fitting:
            moments[step.title] = fitting[0]
    return Chain(gap.site, gap.start, gap.end, tuple(_links(gap, moments)))


def _links(gap: Gap, moments: dict[str, Record]) -> Iterable[Link]:
    reached = gap.start
    for title, record in sorted(moments.items(), key=lambda item: item[1].t):
        t = max(record.t, reached)
        yield Link(title, t, t - reached, record.node, record.text)
        reached = t
    last = "first acknowledged write" if gap.recovered else "the load ended"
    yield Link(last, gap.end, gap.end - reached, f"apps-{gap.site}", "")
