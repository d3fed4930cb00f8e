"""Nobody is promoted before enough nodes cannot confirm another primary's writes; a new timeline is recorded first."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tercet.datafile import text_of
from tercet.nodeside import follow, leadkey, stray, timeline, votes, watchdog
from tercet.nodeside.keys import keys_of
from tercet.nodeside.leadkey import LeaderKey
from tercet.nodeside.timeline import Recorder
from tercet.nodeside.votes import Election

from .delivery import loopback
from .kv import Store, store

SCOPE = "service/x"
HISTORY = "1\t0/1D087E0\tno recovery target specified\n\n2\t0/287A9A8\tno recovery target specified\n"


@pytest.fixture
def dcs() -> Iterator[Store]:
    with store() as found:
        yield found


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


# Counting


SYNC = {"leader": "db-1", "sync_standby": "db-2,db-3", "quorum": 1}


def report(follows: str, lsn: int) -> dict[str, Any]:
    return {"follows": follows, "lsn": lsn}


@pytest.mark.parametrize(
    ("sync", "node", "election"),
    [
        (SYNC, "db-2", Election(frozenset({"db-1", "db-3"}), 1, "db-1")),
        ({**SYNC, "sync_standby": "db-2", "quorum": 0}, "db-2", Election(frozenset({"db-1"}), 0, "db-1")),
        ({**SYNC, "sync_standby": "db-3", "quorum": 0}, "db-2", Election(frozenset({"db-1", "db-3"}), 1, "db-1")),
        ({**SYNC, "sync_standby": None, "quorum": 0}, "db-2", Election(frozenset({"db-1"}), 1, "db-1")),
        (SYNC, "db-1", Election(frozenset(), 0, "db-1")),  # it was the leader: it has what was acknowledged
        ({}, "db-2", Election(frozenset(), 0, "")),
    ],
)
def test_as_many_votes_are_needed_as_in_patronis_election(sync: dict[str, Any], node: str, election: Election) -> None:
    assert Election.of(sync, node) == election


@pytest.mark.parametrize(
    ("reports", "found"),
    [
        ({"db-3": report("", 100)}, {"db-3"}),
        ({"db-3": report("db-2", 90)}, {"db-3"}),
        ({"db-3": report("db-1", 90)}, set()),  # it may still confirm the old primary's writes
        ({"db-3": report("", -1)}, set()),  # it cannot tell what it has
        ({"db-3": report("", 101)}, set()),
        ({"db-4": report("", 90)}, set()),  # not a member of sync
        ({"db-1": report("", 90), "db-3": report("", 90)}, {"db-1", "db-3"}),
    ],
)
def test_a_vote_is_a_report_of_a_node_that_follows_nobody_else_and_has_no_more(
    reports: dict[str, dict[str, Any]], found: set[str]
) -> None:
    assert Election.of(SYNC, "db-2").votes(reports, "db-2", 100) == found


def test_a_standby_that_has_more_must_lead_but_not_the_old_leader() -> None:
    election = Election.of(SYNC, "db-2")
    assert election.ahead({"db-3": report("", 101), "db-1": report("", 101)}, 100) == {"db-3"}
    assert election.ahead({"db-1": report("", 101)}, 100) == set()


@pytest.fixture
def config(dcs: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(votes, "PATIENCE_S", 1.0)
    dcs.patroni = {"role": "replica", "xlog": {"received_location": 100, "replayed_location": 90}}
    dcs.put(f"{SCOPE}/sync", json.dumps(SYNC))
    at = dcs.endpoint._asdict()
    return {"node": "db-2", "dcs": at, "scope": SCOPE, "reports": "tercet/follow", "patroni": at}


def test_it_waits_for_the_report_that_is_missing(dcs: Store, config: dict[str, Any]) -> None:
    dcs.put("tercet/follow/db-3", json.dumps(report("db-1", 80)))
    threading.Timer(0.3, lambda: dcs.put("tercet/follow/db-3", json.dumps(report("", 100)))).start()
    began = time.monotonic()
    assert votes.objection(config) == ""
    assert time.monotonic() - began >= 0.3


def test_it_refuses_without_the_votes_and_says_which(dcs: Store, config: dict[str, Any]) -> None:
    dcs.put("tercet/follow/db-3", json.dumps(report("db-1", 80)))
    assert votes.objection(config) == "0 of 1 votes of db-1, db-3"
    dcs.put("tercet/follow/db-3", json.dumps(report("", 101)))
    assert votes.objection(config) == "db-3 has more WAL than 100"


@pytest.mark.parametrize("value", ["", "x", "[]", '{"follows": ""}', '{"follows": "", "lsn": "x"}'])
def test_a_report_that_makes_no_sense_is_no_vote(dcs: Store, config: dict[str, Any], value: str) -> None:
    dcs.put("tercet/follow/db-3", value)
    assert votes.objection(config)


def test_a_silent_dcs_promotes_nobody(dcs: Store, config: dict[str, Any]) -> None:
    dcs.silent = True
    assert "No cluster leader" in votes.objection(config)


@pytest.fixture
def asked(config: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[], tuple[int, str]]]:
    """Patroni's question, put by its script to a running thread."""
    with votes.Counter({**config, "votes": 0}) as counter:
        counter.start()
        script = tmp_path / "pre-promote"
        script.write_text(text_of("tercet.components.patroni", "pre-promote.sh", PORT=str(counter.server_address[1])))

        def ask() -> tuple[int, str]:
            done = subprocess.run(["bash", script], check=False, capture_output=True, text=True, timeout=30)
            return done.returncode, done.stdout

        yield ask
        counter.shutdown()
    assert ask() == (1, "not promoted: tercet-follow.service is down\n")


def test_patronis_script_gets_the_verdict_of_the_moment(dcs: Store, asked: Callable[[], tuple[int, str]]) -> None:
    dcs.put("tercet/follow/db-3", json.dumps(report("", 100)))
    assert asked() == (0, "promote\n")
    dcs.put("tercet/follow/db-3", json.dumps(report("", 101)))
    assert asked() == (1, "not promoted: db-3 has more WAL than 100\n")


def test_a_suspended_daemon_promotes_nobody(tmp_path: Path) -> None:
    """The kernel accepts the connection; nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        script = tmp_path / "pre-promote"
        script.write_text(text_of("tercet.components.patroni", "pre-promote.sh", PORT=str(silent.getsockname()[1])))
        done = subprocess.run(["bash", script], check=False, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout) == (1, "not promoted: tercet-follow.service does not answer\n")


# Reporting


class Way:
    """The rule of nftables, and what was in `dcs` each time that it changed."""

    def __init__(self, dcs: Store) -> None:
        self.dcs, self.open = dcs, "db-1"
        self.steps: list[tuple[str, str]] = []  # to whom it was opened, and what this node had reported by then

    def is_only(self, holder: str) -> bool:
        return self.open == holder

    def only(self, holder: str) -> None:
        reported = self.dcs.text("tercet/follow/db-2") if "tercet/follow/db-2" in self.dcs.keys else ""
        self.steps.append((holder, reported))
        self.open = holder


@pytest.fixture
def follower(dcs: Store, tmp_path: Path) -> tuple[follow.Follower, Way]:
    dcs.patroni = {"role": "replica", "xlog": {"received_location": 100, "replayed_location": 90}}
    at = dcs.endpoint._asdict()
    settings = {
        "node": "db-2", "dcs": at, "scope": SCOPE, "reports": "tercet/follow", "patroni": at,
        "data": str(tmp_path), "controldata": "false",
    }  # fmt: skip
    way = Way(dcs)
    return follow.Follower(settings, way), way  # type: ignore[arg-type]


def said(dcs: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dcs.text("tercet/follow/db-2"))
    return found


def test_the_way_opens_to_a_holder_only_after_the_report_says_so(
    dcs: Store, follower: tuple[follow.Follower, Way]
) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    node.turn()
    assert way.steps == [("", ""), ("db-1", json.dumps(report("db-1", 100)))]
    dcs.delete(f"{SCOPE}/leader")
    node.turn()
    assert (way.open, said(dcs)) == ("", report("", 100))
    dcs.put(f"{SCOPE}/leader", "db-3", "s-2")
    node.turn()
    assert (way.open, said(dcs)) == ("db-3", report("db-3", 100))
    closed_and_opened = [("", json.dumps(report("db-1", 100))), ("db-3", json.dumps(report("db-3", 100)))]
    assert way.steps[2:] == closed_and_opened, "once each"


def test_a_new_process_leaves_the_stream_alone(dcs: Store, follower: tuple[follow.Follower, Way]) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    dcs.put("tercet/follow/db-2", json.dumps(report("db-1", 80)))
    node.turn()
    assert (way.open, way.steps, said(dcs)) == ("db-1", [], report("db-1", 80))
    dcs.put(f"{SCOPE}/leader", "db-3", "s-2")
    node.turn()
    assert (way.open, said(dcs)) == ("db-3", report("db-3", 100))


@pytest.mark.parametrize(("streams", "steps"), [(True, 2), (False, 4)])
def test_a_key_that_is_taken_again_at_once_cuts_no_stream(
    dcs: Store,
    follower: tuple[follow.Follower, Way],
    monkeypatch: pytest.MonkeyPatch,
    streams: bool,
    steps: int,
) -> None:
    """Patroni does that when it restarts on a primary. If the primary is dead, the vote does not wait."""
    node, way = follower
    monkeypatch.setattr(node, "_streams", lambda: streams)
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    node.turn()
    dcs.delete(f"{SCOPE}/leader")
    threading.Timer(follow.GRACE_S / 2, lambda: dcs.put(f"{SCOPE}/leader", "db-1", "s-2")).start()
    node.turn()
    if not streams:
        assert (way.open, said(dcs)) == ("", report("", 100))
        until(lambda: node.turn() is None and way.open == "db-1")
    assert way.open == "db-1" and len(way.steps) == steps


def test_a_holder_that_lost_the_key_meanwhile_is_not_followed(
    dcs: Store, follower: tuple[follow.Follower, Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    writes = node._report_if_led

    def while_the_key_changes(holder: str, lsn: int) -> bool:
        dcs.put(f"{SCOPE}/leader", "db-3", "s-2")
        return writes(holder, lsn)

    monkeypatch.setattr(node, "_report_if_led", while_the_key_changes)
    node.turn()
    assert way.open == ""
    monkeypatch.setattr(node, "_report_if_led", writes)
    node.turn()
    assert (way.open, said(dcs)) == ("db-3", report("db-3", 100))


def test_a_silent_dcs_changes_nothing_and_an_error_is_made_good(
    dcs: Store, follower: tuple[follow.Follower, Way]
) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    node.turn()
    dcs.silent = True
    dcs.delete(f"{SCOPE}/leader")
    with pytest.raises(follow.ApiError):
        node.turn()
    assert way.open == "db-1"
    node.again()
    dcs.silent = False
    node.turn()
    assert (way.open, said(dcs)) == ("", report("", 100))


def test_without_nftables_there_is_no_vote(
    dcs: Store, follower: tuple[follow.Follower, Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    node.turn()
    dcs.put(f"{SCOPE}/leader", "db-3", "s-2")

    def fail(_holder: str) -> None:
        raise follow.ProgramError("nft: no such thing")

    with monkeypatch.context() as broken:
        broken.setattr(way, "only", fail)
        with pytest.raises(follow.ProgramError):
            node.turn()
        assert said(dcs) == report("db-1", 100), "so this node is not counted"
    node.again()
    node.turn()
    assert (way.open, said(dcs)) == ("db-3", report("db-3", 100))


@pytest.mark.parametrize(
    "patroni", [{}, {"role": "primary", "xlog": {"location": 100}}, {"role": "replica"}, {"role": "replica", "xlog": 1}]
)
def test_a_node_that_is_no_running_standby_has_no_vote(
    dcs: Store, follower: tuple[follow.Follower, Way], patroni: dict[str, Any]
) -> None:
    node, way = follower
    standby, dcs.patroni = dcs.patroni, patroni
    dcs.put(f"{SCOPE}/leader", "db-3", "s-1")
    node.turn()
    assert (way.open, said(dcs)) == ("db-3", report("db-3", -1))
    dcs.patroni = standby
    node.turn()
    assert said(dcs) == report("db-3", 100), "it is asked again"


def test_a_standby_that_starts_late_reports_while_it_streams_and_then_rests(
    dcs: Store, follower: tuple[follow.Follower, Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it receives then is from the holder of the key alone."""
    node, _ = follower
    standby, dcs.patroni = dcs.patroni, {}
    dcs.put(f"{SCOPE}/leader", "db-3", "s-1")
    node.turn()
    monkeypatch.setattr(node, "_is_still", lambda: False)  # a walreceiver is there
    dcs.patroni = standby
    node.turn()
    index = dcs.index
    node.turn()
    assert (said(dcs), dcs.index) == (report("db-3", 100), index)


def test_a_patroni_that_is_down_is_no_reason_to_report_again(
    dcs: Store, follower: tuple[follow.Follower, Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-3", "s-1")
    node.turn()
    index = dcs.index
    monkeypatch.setattr(node, "_patroni", follow.Api(loopback(9)))
    for _ in range(3):
        node.turn()
    assert (way.open, dcs.index) == ("db-3", index)


def test_a_primary_follows_nobody(dcs: Store, follower: tuple[follow.Follower, Way]) -> None:
    node, way = follower
    dcs.put(f"{SCOPE}/leader", "db-2", "s-1")
    node.turn()
    assert way.open == "" and [holder for holder, _ in way.steps] == [""]


def test_the_rule_names_all_peers_but_the_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts, ended = list[str](), list[str]()

    def run(argv: list[str], stdin: str = "") -> str:
        if argv[:2] == ["nft", "list"]:
            return scripts[-1]
        scripts.append(stdin) if argv[0] == "nft" else ended.append(" ".join(argv[argv.index("dst") :]))
        return ""

    monkeypatch.setattr(follow, "run", run)
    hosts = tmp_path / "hosts"
    hosts.write_text("100.64.0.1 db-1\n100.64.0.3 db-3\n192.168.0.9 db-4\n100.64.0.7 apps-1\n")
    way = follow.Way(["db-1", "db-3", "db-4"], 5432, str(hosts), follow.Tailnet("100.64.0.0/10"))
    way.only("")
    way.only("db-3")
    assert "ip daddr { 100.64.0.1, 100.64.0.3 } tcp dport 5432 reject" in scripts[0]
    assert "ip daddr { 100.64.0.1 } tcp dport 5432 reject" in scripts[1]
    assert [way.is_only(name) for name in ("db-1", "db-3")] == [False, True]
    also_an_idle_stream = ["dst 100.64.0.1:5432 or dst 100.64.0.3:5432", "dst 100.64.0.1:5432"]
    assert ended == also_an_idle_stream


# A timeline that was given up


def history_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "pg_wal").iterdir())


@pytest.fixture
def stalled(dcs: Store, tmp_path: Path) -> Iterator[tuple[stray.Stray, Path]]:
    """A standby that has the file of timeline 40, and replays 39."""
    (tmp_path / "pg_wal").mkdir()
    for number in (38, 39, 40):
        (tmp_path / "pg_wal" / f"{number:08X}.history").touch()
    program = tmp_path / "pg_controldata"
    program.write_text(
        '#!/bin/sh\necho "Latest checkpoint\'s TimeLineID:       38"\n'
        'echo "Min recovery ending loc\'s timeline:   39"\n'
    )
    program.chmod(0o755)
    yield stray.Stray(str(tmp_path), str(program)), tmp_path


def test_the_file_of_a_timeline_that_was_given_up_is_renamed_and_postgresql_starts_again(
    stalled: tuple[stray.Stray, Path],
) -> None:
    """Seen: a standby that never streamed again, and a Patroni that saw nothing to do."""
    found, folder = stalled
    (folder / "postgres").symlink_to("/bin/sleep")
    with subprocess.Popen([folder / "postgres", "600"], cwd=folder) as postmaster:
        (folder / "postmaster.pid").write_text(f"{postmaster.pid}\n")
        looks = [found.look({"role": "replica"}, 39) for _ in range(stray.LOOKS)]
        assert looks == [[], [], ["00000028.history"]]
        assert postmaster.wait(20) == -signal.SIGINT
    assert history_files(folder) == ["00000026.history", "00000027.history", "00000028.history.given-up"]


def test_another_program_with_the_postmasters_number_is_left_alone(stalled: tuple[stray.Stray, Path]) -> None:
    found, folder = stalled
    with subprocess.Popen(["sleep", "600"], cwd=folder) as other:
        (folder / "postmaster.pid").write_text(f"{other.pid}\n")
        for _ in range(stray.LOOKS):
            found.look({"role": "replica"}, 39)
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize(
    ("status", "recorded"),
    [
        ({"role": "replica", "replication_state": "streaming"}, 39),
        ({"role": "primary"}, 39),
        ({"role": "replica"}, 40),  # the primary is on it
        ({}, 39),
    ],
)
def test_files_that_are_in_use_stay(stalled: tuple[stray.Stray, Path], status: dict[str, Any], recorded: int) -> None:
    found, folder = stalled
    assert all(found.look(status, recorded) == [] for _ in range(3 * stray.LOOKS))
    assert len(history_files(folder)) == 3 and "00000028.history" in history_files(folder)


def test_a_timeline_that_the_standby_has_wal_of_is_pg_rewinds(stalled: tuple[stray.Stray, Path]) -> None:
    found, folder = stalled
    (folder / "pg_controldata").write_text('#!/bin/sh\necho "Min recovery ending loc\'s timeline:   40"\n')
    assert all(found.look({"role": "replica"}, 39) == [] for _ in range(3 * stray.LOOKS))
    assert "00000028.history" in history_files(folder)


def test_one_look_at_a_standby_that_streams_again_is_enough(stalled: tuple[stray.Stray, Path]) -> None:
    found, _ = stalled
    for _ in range(5):
        assert found.look({"role": "replica"}, 39) == found.look({"role": "replica"}, 39) == []
        assert found.look({"role": "replica", "replication_state": "streaming"}, 39) == []


# Recording a timeline


def test_a_timeline_is_recorded_as_patroni_would() -> None:
    assert timeline.lines(HISTORY) == [
        [1, 30443488, "no recovery target specified"],
        [2, 42445224, "no recovery target specified"],
    ]
    assert [timeline.known(text) for text in ("", "[]", '[[1,5,"x"],[2,9,"x","time","node"]]')] == [1, 1, 3]


def test_only_the_holder_of_the_leader_key_records(dcs: Store) -> None:
    recorder = Recorder(dcs.endpoint, SCOPE, "db-2")
    assert recorder.record(3, HISTORY) == "no node holds the leader key"
    dcs.put(f"{SCOPE}/leader", "db-1", "s-1")
    assert recorder.record(3, HISTORY) == "db-1 holds the leader key"
    assert f"{SCOPE}/history" not in dcs.keys
    dcs.put(f"{SCOPE}/leader", "db-2", "s-2")
    assert recorder.record(4, HISTORY) == "the history file of timeline 4 is missing or incomplete"
    assert recorder.record(3, HISTORY) == ""
    assert timeline.known(dcs.text(f"{SCOPE}/history")) == 3
    index = dcs.index
    assert recorder.record(3, "") == "" and dcs.index == index, "it is recorded already"


def test_a_key_that_is_lost_before_the_record_prevents_it(dcs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(dcs.endpoint, SCOPE, "db-2")
    dcs.put(f"{SCOPE}/leader", "db-2", "s-2")

    def and_lose_it(*args: Any) -> dict[str, dict[str, Any]]:
        found = keys_of(*args)
        dcs.put(f"{SCOPE}/leader", "db-1", "s-3")
        return found

    monkeypatch.setattr(timeline, "keys_of", and_lose_it)
    assert recorder.record(3, HISTORY) == "the leader key or the history changed meanwhile"
    assert f"{SCOPE}/history" not in dcs.keys


def test_a_silent_dcs_records_nothing(dcs: Store) -> None:
    dcs.silent = True
    assert Recorder(dcs.endpoint, SCOPE, "db-2").record(3, HISTORY).startswith("dcs does not answer: ")


# A primary that cannot keep the leader key


class Postmaster:
    primary = True
    refuses = False

    def is_primary(self) -> bool:
        return self.primary

    def refuses_writes(self) -> bool:
        return self.refuses


class Keepalives:
    off = False

    def disarmed(self) -> bool:
        return self.off


class Node:
    """A primary, its key, and how often it stepped down."""

    def __init__(self, dcs: Store) -> None:
        self.dcs = dcs
        self.postmaster, self.keepalives = Postmaster(), Keepalives()
        self.key = LeaderKey(dcs.endpoint, SCOPE, "db-1")
        self.unsteady = watchdog.Unsteady(self.postmaster, self.keepalives, self.key, "/nonexistent")  # type: ignore[arg-type]
        self.down = 0
        dcs.put(f"{SCOPE}/initialize", "7")
        dcs.put(f"{SCOPE}/sync", json.dumps(SYNC))
        self.take()
        self.polls()

    def take(self) -> None:
        self.dcs.delete(f"{SCOPE}/leader")
        self.dcs.put(f"{SCOPE}/leader", "db-1", "s-1")

    def lose(self) -> None:
        self.dcs.delete(f"{SCOPE}/leader")

    def polls(self, times: int = 1) -> None:
        for _ in range(times):
            self.key.ask()
            self.unsteady.poll(self.step_down)

    def step_down(self) -> None:
        self.down += 1


@pytest.fixture
def node(dcs: Store) -> Node:
    return Node(dcs)


def test_a_primary_that_stale_gossip_called_failed_takes_its_key_again(node: Node) -> None:
    """Seen: one that stepped down after two such losses, while the others could not lead."""
    for _ in range(5):
        node.lose()
        node.polls(2)
        node.take()
        node.polls(2)
        node.take()  # lost and taken again between two looks
        node.polls(2)
    assert node.down == 0


def test_one_that_lost_it_and_refuses_writes_steps_down_after_a_second(node: Node) -> None:
    node.postmaster.refuses = True
    node.polls(20)
    assert node.down == 0, "it holds the key: nobody could do better"
    node.lose()
    node.polls(watchdog.UNSTEADY_LOOKS - 1)
    assert node.down == 0
    node.polls()
    assert node.down == 1


def test_a_new_primary_that_may_not_write_yet_is_left_alone(node: Node) -> None:
    """Seen: one that lost its key to stale gossip before its timeline was recorded; nobody else could lead."""
    node.postmaster.primary = False
    node.polls()
    node.postmaster.primary = node.postmaster.refuses = True
    node.take()
    node.polls()
    node.take()
    node.polls(20)
    assert node.down == 0


def test_one_that_lost_it_while_dcs_was_silent_steps_down_at_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut off: another node may have led meanwhile."""
    now = [time.monotonic()]
    monkeypatch.setattr(leadkey.time, "monotonic", lambda: now[0])
    node.dcs.silent = True
    node.polls(2)
    now[0] += leadkey.ASK_S + leadkey.CUT_S + 0.5
    node.dcs.silent = False
    node.polls()
    assert node.down == 0, "it still holds the key"
    node.dcs.silent = True
    now[0] += leadkey.ASK_S + leadkey.CUT_S + 0.5
    node.lose()
    node.dcs.silent = False
    node.polls()
    assert node.down == 1


@pytest.mark.parametrize("same_index", [True, False])
def test_a_key_that_was_lost_with_the_data_of_dcs_is_no_loss(
    node: Node, monkeypatch: pytest.MonkeyPatch, same_index: bool
) -> None:
    """Seen: a primary that had written all the time was fenced when `recover dcs` had made dcs know the cluster again,
    because the watchdog asked before Patroni could take the key.
    """
    now = [time.monotonic()]
    monkeypatch.setattr(leadkey.time, "monotonic", lambda: now[0])
    node.dcs.silent = True
    node.polls()
    now[0] += 60
    index = node.dcs.keys[f"{SCOPE}/initialize"]["CreateIndex"]
    node.dcs.keys.clear()
    node.polls()
    node.dcs.silent = False  # until now its token was not known
    node.dcs.put(f"{SCOPE}/initialize", "7")
    node.dcs.put(f"{SCOPE}/recovered", "2026-11-30T06:00:00+00:00")
    node.dcs.put(f"{SCOPE}/sync", json.dumps(SYNC))
    if same_index:
        node.dcs.keys[f"{SCOPE}/initialize"]["CreateIndex"] = index
    node.polls(2)
    node.take()
    node.polls(2)
    assert node.down == 0


def test_a_loss_long_ago_does_not_count(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(leadkey.time, "monotonic", lambda: now[0])
    node.take()
    for _ in range(int(leadkey.LATELY_S) + 1):
        node.polls()
        now[0] += 1
    node.postmaster.refuses = True
    node.polls(20)
    assert node.down == 0


@pytest.mark.parametrize("why", ["standby", "paused", "no successor", "silence", "dcs lost its data"])
def test_nobody_steps_down_where_it_would_not_help(node: Node, why: str) -> None:
    if why == "standby":
        node.postmaster.primary = False
    elif why == "paused":
        node.keepalives.off = True
    elif why == "no successor":
        node.dcs.put(f"{SCOPE}/sync", json.dumps({"leader": "db-1", "sync_standby": None, "quorum": 0}))
    elif why == "dcs lost its data":
        node.dcs.delete(f"{SCOPE}/initialize")
    node.postmaster.refuses = True
    node.dcs.silent = why == "silence"
    node.take()
    node.polls(20)
    assert node.down == 0


def test_the_key_is_given_up_only_if_it_is_this_nodes(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.key.give_up()
    assert node.dcs.destroyed == ["s-1"]
    node.dcs.put(f"{SCOPE}/leader", "db-2", "s-2")
    node.key.give_up()
    assert node.dcs.destroyed == ["s-1"]
    node.dcs.silent = True
    node.key.give_up()
    assert "the leader key ends with its ttl: " in capsys.readouterr().out
