"""The journal of a drill as the platform would write it: the primary's site is killed and comes back."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from tercet.drills import journal
from tercet.drills.expect import ExpectModel
from tercet.drills.judge.verdict import Result, result
from tercet.drills.run.predict import Running, predict
from tercet.drills.scenario.mechanism import Mechanism
from tercet.drills.scenario.model import Scenario
from tercet.inventory.journals import What
from tercet.inventory.model import BudgetsModel

SITES = ("sib-01", "sib-03", "fsn-01")
ROLES = ("consul-nomad", "apps", "db")
NODES = tuple(
    journal.NodeOf(name=f"{role}-{site}", site=site, role=role, address=f"100.64.0.{3 * i + j + 1}")
    for i, site in enumerate(SITES)
    for j, role in enumerate(ROLES)
)
ADDRESS = {node.name: node.address for node in NODES}
RUNNING = Running(members=9, probe_interval=0.5, gossip_interval=0.1, suspicion_mult=3, loop_wait=2.0, one_way=0.015)

# Origin, offset, node, component, kind, subject ("-": none), text.
RECORDS = """
killed 0.90 consul-nomad-fsn-01 dcs SUSPECTED db-sib-01 memberlist: Suspect db-sib-01 has failed, no acks received
seen 0.00 db-sib-03 dcs MEMBER_FAILED db-sib-01 serf: EventMemberFailed: db-sib-01 100.64.0.3
seen 0.05 consul-nomad-fsn-01 dcs MEMBER_FAILED db-sib-01 serf: EventMemberFailed: db-sib-01 100.64.0.3
seen 0.12 consul-nomad-fsn-01 dcs HEALTH_CRITICAL db-sib-01 agent.server: member failed, marking health critical
seen 0.31 db-sib-03 guard GUARDED db-sib-01 silent 100.64.0.3 db-sib-01
seen 0.34 db-sib-03 patroni PEER_SILENT db-sib-01 WARNING: Request failed to db-sib-01: GET http://db-sib-01:8008
seen 0.46 db-sib-03 patroni LOCK_TAKEN - INFO: promoted self to leader by acquiring session lock
seen 0.48 db-sib-03 postgresql PROMOTE_ASKED - LOG:  received promote request
seen 0.55 db-sib-03 postgresql READY - LOG:  database system is ready to accept connections
seen 1.13 db-sib-03 dcs CHECK_SYNCED proposalsapp-primary agent: Synced check: check=service:proposalsapp-primary
seen 1.21 apps-sib-03 consul-template RENDERED /etc/pgcat/pgcat.toml (runner) rendered "proxy.ctmpl" => "pgcat.toml"
seen 1.24 apps-sib-03 proxy PROXY_READY - Reloaded pgcat.service
seen 1.25 apps-fsn-01 consul-template RENDERED /etc/pgcat/pgcat.toml (runner) rendered "proxy.ctmpl" => "pgcat.toml"
seen 1.28 apps-fsn-01 proxy PROXY_READY - Reloaded pgcat.service
healed 3.10 db-fsn-01 dcs MEMBER_JOINED db-sib-01 serf: EventMemberJoin: db-sib-01 100.64.0.3
healed 4.00 db-sib-01 patroni REWIND db-sib-03 INFO: running pg_rewind from db-sib-03
healed 6.40 db-sib-01 postgresql STREAMING 0/3000000 LOG:  started streaming WAL from primary at 0/3000000
healed 7.90 db-sib-03 postgresql SYNC_CANDIDATE db-sib-01 standby "db-sib-01" is now a candidate for quorum
"""


@dataclass
class Drill:
    """What happens in it; `entries()` tells it. Times in seconds of the drill."""

    seed: int = 1
    killed: float = 8.0
    writable: float = 11.9  # again, at the proxies
    healed: float = 38.0
    end: float = 58.0
    victim: str = "sib-01"
    successor: str = "db-sib-03"
    rows: dict[str, list[tuple[int, str, float]]] = field(default_factory=dict)

    def entries(self) -> list[journal.AnyEntry]:
        pick = random.Random(self.seed)
        told: list[journal.AnyEntry] = [
            journal.Began(
                t=0,
                scenario="site-killed",
                title="The whole site of the primary loses its power",
                promise="A standby is promoted; nothing is lost.",
                expect=ExpectModel(writes="site_loss", failovers=1),
                budgets=BudgetsModel(),
                platform="tercet",
                unix=1795416339.0,
                nodes=NODES,
                writes_per_second=10,
                reads_per_second=10,
                transactions_per_second=5,
            )
        ]
        told += [journal.Clock(t=0.1, node=f"apps-{s}", offset=0.0001, uncertainty=0.0006) for s in SITES]
        told += [journal.Route(t=0, site=site, reads=(f"db-{site}",)) for site in SITES]
        told += [
            journal.Route(t=self.killed, site=self.victim, reads=()),
            journal.Route(t=self.healed, site=self.victim, reads=()),
            journal.Primary(t=0, node=f"db-{self.victim}"),
            journal.Primary(t=self.killed + 3.1, node=self.successor),
        ]
        told.append(predict(Mechanism.SILENCE, RUNNING, silent=3).entry(0.2))
        told += self._faults() + self._records(pick)
        for site in SITES:
            told += self._writes(site, pick)
        for rows in self.rows.values():
            rows.sort(key=lambda row: row[2])
        for site in SITES:
            told += self._reads(site, pick)
        tables = [
            journal.Table(t=self.end, node=f"db-{site}", writer=writer, rows=tuple(rows))
            for site in SITES
            for writer, rows in sorted(self.rows.items())
        ]
        return [
            *sorted(told, key=lambda entry: entry.t),
            *tables,
            journal.Promise(t=self.end, name="nomad keeps a leader", held=True, detail="2 of 3 servers"),
            journal.Promise(t=self.end, name="allocations run elsewhere", held=True, detail="after 13.2 s"),
            journal.Promise(t=self.end, name="other catalogues answer", held=True, detail="2 of them, and dcs"),
            journal.Collected(t=self.end),
        ]

    def _faults(self) -> list[journal.AnyEntry]:
        nodes = tuple(node.name for node in NODES if node.site == self.victim)
        moments = (
            ("injecting", self.killed - 0.05),
            ("injected", self.killed),
            ("healing", self.healed),
            ("healed", self.healed + 4.2),
        )
        fault = f"site {self.victim} killed"
        return [
            journal.Fault(t=t, action=action, fault=fault, nodes=nodes, sites=(self.victim,))  # type: ignore[arg-type]
            for action, t in moments
        ]

    def _records(self, pick: random.Random) -> list[journal.AnyEntry]:
        seen = self.killed + 2.35 + pick.uniform(-0.3, 0.3)
        origins = {"killed": self.killed, "seen": seen, "healed": self.healed}
        told: list[journal.AnyEntry] = []
        for line in RECORDS.strip().splitlines():
            origin, offset, node, component, what, subject, text = line.split(maxsplit=6)
            told.append(
                journal.Record(
                    t=origins[origin] + float(offset),
                    node=node,
                    component=component,
                    what=What[what],
                    subject=subject.strip("-"),
                    text=text,
                )
            )
        self.writable = max(self.writable, seen + 1.33)
        return told

    def _writes(self, site: str, pick: random.Random) -> list[journal.AnyEntry]:
        told: list[journal.AnyEntry] = []
        for worker, rate in (("writer", 10.0), ("transactions", 5.0)):
            phase = pick.uniform(0, 1 / rate)
            for number in range(int(self.end * rate)):
                told += self._write(site, worker, number + 1, phase + number / rate, pick)
        if site == self.victim:
            told.append(journal.Ended(t=self.killed + 0.02, site=site, reason="lost"))
        return told

    def _reads(self, site: str, pick: random.Random) -> list[journal.AnyEntry]:
        phase = pick.uniform(0, 1 / 10)
        seqs = {writer: [seq for seq, _, _ in rows] for writer, rows in self.rows.items()}
        times = {writer: [written for _, _, written in rows] for writer, rows in self.rows.items()}
        told: list[journal.AnyEntry] = []
        for number in range(int(self.end * 10)):
            at = phase + number / 10
            if self._dark(site, at):
                continue
            took = abs(pick.gauss(0.003, 0.001)) + 0.001
            known = at - pick.uniform(0.02, 0.06)
            seen = {
                writer: seqs[writer][index - 1] if (index := bisect_left(times[writer], known)) else 0
                for writer in seqs
            }
            base = {"site": site, "worker": "reader", "scheduled": at, "sent": at + 0.0002}
            told.append(journal.Read(t=at + took, **base, node=ADDRESS[f"db-{site}"], seen=seen))  # type: ignore[arg-type]
        return told

    def _dark(self, site: str, at: float) -> bool:
        return site == self.victim and self.killed <= at < self.healed + 7.5

    def _write(self, site: str, worker: str, seq: int, at: float, pick: random.Random) -> list[journal.AnyEntry]:
        if self._dark(site, at):
            return []
        base = {
            "site": site,
            "worker": worker,
            "writer": f"{site}/{worker}",
            "seq": seq,
            "id": f"{site}-{worker}-{seq}",
            "scheduled": at,
        }
        took = abs(pick.gauss(0.008 if site != "fsn-01" else 0.038, 0.004)) + 0.002
        first, node = journal.Attempt(t=at + 0.0003, **base), f"db-{self.victim}"
        if self.killed <= at + took < self.writable:
            done = self.writable + pick.uniform(0.01, 0.05)
            if at > self.writable - 0.06:
                took = done - at
            elif pick.random() < 0.12:
                return [
                    first,
                    journal.Unknown(t=at + 1.0, **base, stage="commit", message="no answer within the deadline"),
                ]
            elif pick.random() < 0.4:
                return [journal.Missed(t=at + 1.1, site=site, worker=worker, scheduled=at)]  # type: ignore[arg-type]
            else:
                said = "connection to server at 100.64.0.3, port 5432 failed: Connection refused"
                return [first, journal.Failed(t=at + 0.02, **base, stage="connect", sqlstate="58000", message=said)]
        if at + took >= self.writable:
            node = self.successor
        self.rows.setdefault(base["writer"], []).append((seq, base["id"], at + took / 2))  # type: ignore[arg-type]
        inside = {"read_node": ADDRESS[node]} if worker == "transactions" else {}
        return [first, journal.Acknowledged(t=at + took, **base, node=ADDRESS[node], **inside)]


def judge(entries: Sequence[journal.AnyEntry], scenario: Scenario, budgets: BudgetsModel | None = None) -> Result:
    """The verdict on these entries as if that scenario had been run, and all had been collected."""
    asked = {
        "scenario": scenario.name,
        "title": scenario.title,
        "promise": scenario.promise,
        "expect": scenario.expect,
        "budgets": budgets or BudgetsModel(),
    }
    told = [entry.model_copy(update=asked) if isinstance(entry, journal.Began) else entry for entry in entries]
    return result([*told, journal.Collected(t=max(entry.t for entry in entries))])
