"""Clean histories, made the way the platform makes them, and the anomalies that are put into them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tercet.drills import journal
from tercet.drills.expect import ExpectModel
from tercet.inventory.model import BudgetsModel

SITES = ("sib-01", "sib-03", "fsn-01")
NODES = tuple(
    journal.NodeOf(name=f"db-{site}", site=site, role="db", address=f"100.64.0.{number}")
    for number, site in enumerate(SITES, 1)
)
PRIMARY = NODES[0]


@dataclass
class Story:
    """Entries under construction, with handles to what anomalies need."""

    entries: list[journal.AnyEntry] = field(default_factory=list)
    rows: dict[str, list[tuple[int, str, float]]] = field(default_factory=dict)
    acknowledged: list[journal.Acknowledged] = field(default_factory=list)
    failed: list[journal.Failed] = field(default_factory=list)
    unknown: list[journal.Unknown] = field(default_factory=list)
    reads: list[journal.Read] = field(default_factory=list)

    def told(self) -> list[journal.AnyEntry]:
        tables = [
            journal.Table(t=999, node=PRIMARY.name, writer=writer, rows=tuple(rows))
            for writer, rows in self.rows.items()
        ]
        return [*self.entries, *self.acknowledged, *self.failed, *self.unknown, *self.reads, *tables]

    def write(self, site: str, worker: journal.Worker, seq: int, at: float, took: float, outcome: str) -> None:
        """One write; an unknown one is committed if its sequence number is even."""
        base = {
            "site": site,
            "worker": worker,
            "writer": f"{site}/{worker}",
            "seq": seq,
            "id": f"{site}-{worker}-{seq}",
            "scheduled": at,
        }
        self.entries.append(journal.Attempt(t=at, **base))
        done = at + took
        if outcome == "acknowledged":
            asked = ("first_node", "read_node") if worker == "transactions" else ()
            inside = dict.fromkeys(asked, PRIMARY.address)
            self.acknowledged.append(journal.Acknowledged(t=done, **base, node=PRIMARY.address, **inside))
        elif outcome == "failed":
            self.failed.append(journal.Failed(t=done, **base, stage="commit", sqlstate="25006", message="read-only"))
        else:
            self.unknown.append(journal.Unknown(t=done, **base, stage="commit", message="no answer"))
        if outcome == "acknowledged" or (outcome == "unknown" and seq % 2 == 0):
            self.rows.setdefault(base["writer"], []).append((seq, base["id"], at + took / 2))

    def read(self, site: str, at: float, took: float, lag: float) -> None:
        """A read that sees what was committed until `lag` seconds before it was sent."""
        seen = {
            writer: max((seq for seq, _, written in rows if written <= at - lag), default=0)
            for writer, rows in self.rows.items()
        }
        node = next(node for node in NODES if node.site == site)
        self.reads.append(
            journal.Read(t=at + took, site=site, worker="reader", scheduled=at, sent=at, node=node.address, seen=seen)
        )


def begin() -> Story:
    story = Story()
    story.entries.append(
        journal.Began(
            t=0,
            scenario="test",
            title="Test",
            promise="It holds.",
            expect=ExpectModel(),
            budgets=BudgetsModel(),
            platform="tercet",
            unix=1.0,
            nodes=NODES,
            writes_per_second=10,
            reads_per_second=10,
            transactions_per_second=10,
        )
    )
    story.entries.append(journal.Clock(t=0, node="apps-sib-01", offset=0.0, uncertainty=0.001))
    story.entries.append(journal.Primary(t=0, node=PRIMARY.name))
    for node in NODES:
        story.entries.append(journal.Route(t=0, site=node.site, reads=(node.name,)))
    return story


def clean(outcomes: list[str], took: float = 0.02, lag: float = 0.0) -> Story:
    """Each site writes, in both ways, and reads every 0.1 s; `outcomes` are those of the writes, in turn."""
    story = begin()
    for number, outcome in enumerate(outcomes):
        at = 1 + number * 0.1
        for site in SITES:
            story.write(site, "writer", number + 1, at, took, outcome)
            story.write(site, "transactions", number + 1, at, took, outcome)
    for number in range(len(outcomes)):
        for site in SITES:
            story.read(site, 1.05 + number * 0.1, took, lag)
    return story


OUTCOMES = st.lists(st.sampled_from(["acknowledged"] * 8 + ["failed", "unknown"]), min_size=6, max_size=25).map(
    # The ends are acknowledged, so that every anomaly has something to happen to.
    lambda outcomes: ["acknowledged", "acknowledged", *outcomes, "failed", "unknown", "acknowledged", "acknowledged"]
)
