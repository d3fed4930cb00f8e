"""Predicts write unavailability from the running configuration, as a chain of links, each with its source.

`expected` is the mean. 99 of 100 failures stay below `bound` on a machine that has enough CPU. Both are in seconds. The
delays of the links are independent of each other, so the bound of the chain is the sum of the means plus the square
root of the sum of squares of each link's bound above its mean.

Gossip (hashicorp/memberlist 0.5, state.go, suspicion.go, util.go), for N members of which M survive:
- every member probes one other every probe_interval P, in a random order of the N - 1 others, so the moment at
  which one of M survivors probes a dead member is uniform over (N - 1) P; the k-th of M such moments has the
  mean (N - 1) P k / (M + 1);
- a probe has failed when P is over (times 1 + the prober's own health score, 0 on a healthy machine);
- a suspicion takes suspicion_mult * max(1, log10 N) * P if suspicion_mult - 2 further members agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tercet.components.proxy.component import BLOCK_QUERY_S
from tercet.components.systemd import RESTART_MS
from tercet.drills.journal import Predicted
from tercet.drills.run.load import LoadSettings
from tercet.drills.scenario.mechanism import Mechanism
from tercet.nodeside import guard as dead_peers
from tercet.nodeside import strict_pace, watchdog
from tercet.nodeside.sessions import ASK_S

CONFIDENCE = 0.99
LOAD = LoadSettings()


@dataclass(frozen=True, slots=True)
class Running:
    """The numbers of the running configuration. Seconds, unless the name says otherwise.

    A number that the platform does not report has a default: the constant with which its programs or their
    configuration are made.
    """

    members: int
    probe_interval: float
    gossip_interval: float
    suspicion_mult: int
    loop_wait: float
    one_way: float  # the slowest link between two sites
    block_query_wait: float = BLOCK_QUERY_S
    guard: bool = True
    guard_poll: float = dead_peers.POLL_S
    guard_probe: float = 0.2
    strict_look: float = strict_pace.LOOK_S
    strict_looks: int = strict_pace.SHORT_LOOKS  # it acts at the last of this many polls
    strict_silence: float = (
        strict_pace.SILENT_LOOKS * strict_pace.LOOK_S
    )  # after these, a silent standby counts as gone
    heartbeat: float = strict_pace.HEARTBEAT_S  # a standby answers each of these
    replication_timeout: float = 5.0  # wal_sender_timeout
    postmaster_silence: float = watchdog.POSTMASTER_SILENT_S
    watchdog_look: float = 2 * watchdog.ASK_S  # a poll and its question
    restart_delay: float = RESTART_MS / 1000
    load_period: float = 1 / LOAD.writes_per_second  # between two writes of the load of one site
    backoff_cap: float = LOAD.backoff_cap
    deadline: float = LOAD.deadline


@dataclass(frozen=True, slots=True)
class Term:
    """One link. `title` is the title of the measured link in drills.judge.chain, if there is one."""

    title: str
    expected: float
    bound: float
    source: str


@dataclass(frozen=True, slots=True)
class Prediction:
    terms: tuple[Term, ...]

    @property
    def expected(self) -> float:
        return sum(term.expected for term in self.terms)

    @property
    def bound(self) -> float:
        return self.expected + math.hypot(*(term.bound - term.expected for term in self.terms))

    def entry(self, t: float) -> Predicted:
        """The prediction as an entry of the journal."""
        links = tuple((term.title, term.expected, term.bound, term.source) for term in self.terms)
        return Predicted(t=t, expected=self.expected, bound=self.bound, links=links)


def predict(mechanism: Mechanism, running: Running, *, silent: int = 1) -> Prediction:
    """The chain of one mechanism. `silent`: the number of members that fall silent together (a whole site: 3)."""
    match mechanism:
        case Mechanism.SILENCE:
            terms = (*gossip(running, silent), *_key_moves(running, asked=_dead_asked(running)), *_routes(running))
        case Mechanism.FROZEN:
            terms = (*gossip(running, silent), *_key_moves(running, asked=_hanging_asked()), *_routes(running))
        case Mechanism.CRASH:
            terms = (*_crash(running), *_key_moves(running, asked=_alive_asked(running)), *_routes(running))
        case Mechanism.HUNG:
            moves = _key_moves(running, asked=_alive_asked(running))
            terms = (_ended(running), *_crash(running), *moves, *_routes(running))
        case Mechanism.SWITCHOVER:
            terms = (*_switchover(running), *_key_moves(running, asked=_alive_asked(running)), *_routes(running))
        case Mechanism.PROXY:
            terms = (_proxy_again(running), _client(running))
        case Mechanism.NO_STANDBY:
            terms = _no_standby(running)
        case Mechanism.COLD_START:
            terms = _cold_start(running)
        case Mechanism.NONE:
            terms = ()
    return Prediction(terms)


def gossip(running: Running, silent: int) -> tuple[Term, ...]:
    """From the last sign of life to the first survivor that declares the member failed."""
    survivors = max(1, running.members - silent)
    span = (running.members - 1) * running.probe_interval
    confirmations = max(0, running.suspicion_mult - 2)
    if running.members - 2 < confirmations:
        confirmations = 0
    suspicion = running.suspicion_mult * max(1.0, math.log10(running.members)) * running.probe_interval
    first = (_mean(1, survivors, span), _quantile(1, survivors, span))
    # The suspicion time shrinks to its minimum only when enough others have probed the dead member, too.
    needed = min(confirmations + 1, survivors)
    agreed = (_mean(needed, survivors, span), _quantile(needed, survivors, span))
    waits = [max(suspicion, late - early) for early, late in zip(first, agreed, strict=True)]
    p = running.probe_interval
    return (
        Term(
            "first probe",
            *first,
            f"{survivors} members probe one of {running.members - 1} others each {_s(p)} (probe_interval)",
        ),
        Term("probe fails", p, 2 * p, f"probe_interval {_s(p)}; twice that if the prober doubts itself"),
        Term(
            "failure seen by gossip",
            waits[0],
            waits[1],
            f"suspicion: {running.suspicion_mult} (suspicion_mult) x {_s(p)} with {confirmations} confirmation(s)",
        ),
    )


def _mean(k: int, of: int, span: float) -> float:
    """Mean of the k-th smallest of `of` moments that are uniform over `span`."""
    return span * k / (of + 1)


def _quantile(k: int, of: int, span: float) -> float:
    """The time before which the k-th smallest is with probability CONFIDENCE."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        fewer = sum(math.comb(of, i) * middle**i * (1 - middle) ** (of - i) for i in range(k))
        low, high = (middle, high) if 1 - fewer < CONFIDENCE else (low, middle)
    return span * high


def _consul_write(running: Running) -> float:
    """A write through the local `dcs` agent: to the Raft leader and back, and its commit by a majority."""
    return 4 * running.one_way + 0.01


def _key_moves(running: Running, asked: Term) -> tuple[Term, ...]:
    write = _consul_write(running)
    spread = running.gossip_interval
    return (
        Term(
            "session gone",
            spread + write,
            3 * spread + ASK_S + 3 * write,
            f"told to the Raft leader by gossip ({_s(spread)}), which tercet-wake asks each {_s(ASK_S)} about a silent "
            f"node before it ends its session",
        ),
        asked,
        Term(
            "leader key taken",
            2 * write,
            4 * write + 0.2,
            "Patroni takes the key and writes the sync state: two Consul writes",
        ),
        Term("promoted", 0.1, 0.5, "measured: pg_promote to accepting writes 0.03 to 0.1 s"),
    )


def _dead_asked(running: Running) -> Term:
    """The candidates ask the dead member's REST API. The guard turns its silence into a refusal."""
    if not running.guard:
        return _hanging_asked()
    done_meanwhile = running.gossip_interval + _consul_write(running) / 2
    guard = running.guard_poll / 2 + running.guard_probe
    return Term(
        "members asked",
        max(0.0, guard - done_meanwhile),
        running.guard_poll + running.guard_probe,
        f"dead-peer guard: looks each {_s(running.guard_poll)}, own probe {_s(running.guard_probe)}",
    )


def _hanging_asked() -> Term:
    return Term("members asked", 2.0, 2.0, "Patroni waits 2 s for a silent member's REST API (ha.py)")


def _alive_asked(running: Running) -> Term:
    trip = 2 * running.one_way
    return Term("members asked", trip, 3 * trip + 0.1, f"members' REST API over {_ms(running.one_way)} one way")


def _routes(running: Running) -> tuple[Term, ...]:
    trip = 2 * running.one_way
    return (
        Term(
            "template rendered",
            trip + 0.05,
            trip + 0.1 + running.block_query_wait,
            f"Consul Template's blocking query for the leader key; {_s(running.block_query_wait)} if it must ask again",
        ),
        Term("proxy ready", 0.05, 0.2, "a reload: PgCat's servers, or the addresses that lead pgpool-II to them"),
        _client(running),
    )


def _client(running: Running) -> Term:
    return Term(
        "first acknowledged write",
        running.load_period / 2 + running.backoff_cap / 4 + 2 * running.one_way,
        running.load_period + running.backoff_cap + running.deadline,
        f"the load: a write each {_s(running.load_period)}, reconnects within {_s(running.backoff_cap)}, "
        f"gives up after {_s(running.deadline)}",
    )


def _ended(running: Running) -> Term:
    limit = running.postmaster_silence
    return Term(
        "killed by the watchdog",
        0.0,
        limit + running.watchdog_look,
        f"open connections continue until then; a new one waits for it, {_s(limit)} and a look",
    )


def _crash(running: Running) -> tuple[Term, ...]:
    return (
        Term(
            "crash seen by Patroni",
            0.1,
            running.loop_wait,
            f"tercet-wake sees the end of the postmaster; without it Patroni looks each {_s(running.loop_wait)}",
        ),
        Term("old primary demoted", 0.1, 0.5, "primary_start_timeout 0: the key is given up, not waited for"),
    )


def _switchover(running: Running) -> tuple[Term, ...]:
    return (
        Term("old primary demoted", 0.1, 1.0, "checkpoint and fast shutdown, measured 0.06 s with little to flush"),
        Term(
            "leader key free",
            0.3,
            3.0,
            "pg_ctl stops PostgreSQL before Patroni does (before_stop); else Patroni looks once a second",
        ),
    )


def _proxy_again(running: Running) -> Term:
    return Term(
        "proxy ready", running.restart_delay + 0.3, running.restart_delay + 1.0, "systemd: RestartSec and its start"
    )


def _no_standby(running: Running) -> tuple[Term, ...]:
    look, looks = running.strict_look, running.strict_looks
    silence = min(running.strict_silence, running.replication_timeout)
    return (
        Term(
            "standbys missed",
            max(0.0, silence - running.heartbeat / 2),
            silence,
            f"silent for {_s(silence)} in the strict guard's looks, or wal_sender_timeout; less the age of the last "
            f"answer, up to {_s(running.heartbeat)}",
        ),
        Term(
            "read-only",
            (looks - 0.5) * look,
            looks * look + 0.1,
            f"look {looks} of the strict guard, one each {_s(look)}",
        ),
    )


def _cold_start(running: Running) -> tuple[Term, ...]:
    return (
        Term("containers", 3.0, 6.0, "measured: nine system containers to running"),
        Term("tailnet", 2.0, 5.0, "measured: tailscaled with known keys"),
        Term("dcs leader", 2.5, 6.0, "joined each second; Raft heartbeat and election 1 s each, randomised"),
        Term("leader key taken", 3.0, 8.0, "PostgreSQL starts in recovery; Patroni's first looks"),
        Term("promoted", 0.5, 1.0, "the former primary needs no other"),
        Term("counts for commits", 3.0, 8.0, "a standby streams: wal_retrieve_retry_interval, Patroni's look"),
        *_routes(running),
    )


def _s(seconds: float) -> str:
    return f"{seconds:g} s"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
