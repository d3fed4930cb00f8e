"""The load against a real PostgreSQL: what it reports is what happened, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tercet.converge.fleet import Unreachable
from tercet.drills import journal
from tercet.drills.run import load

from ..conftest import LocalFleet, Server, until

pytest.importorskip("psycopg", reason="the load needs psycopg 3")

WRITERS = ("sib-01/writer", "sib-01/transactions")
# On a busy machine a statement may take long: a deadline that none misses, and a run that lasts until it is stopped.
PATIENT = {"deadline": 60.0, "connect_timeout": 60.0}
LONG_S = 600.0


class Kept(journal.Journal):
    """A journal that keeps its entries at hand, those said while the load starts, too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.entries: list[journal.Entry] = []

    def append(self, entry: journal.Entry) -> None:
        super().append(entry)
        self.entries.append(entry)


class Run:
    """A load of one site under way."""

    def __init__(self, path: Path, conninfo: str, table: str = "drill") -> None:
        self.book = Kept(path)
        self.path = path
        self.entries = self.book.entries
        target = load.LoadTarget("sib-01", "apps-sib-01", conninfo, table, WRITERS)
        self.began = time.time()
        self.load = load.SiteLoad(target, self.book, self.began)

    def of(self, kind: type[journal.Entry]) -> list[journal.Entry]:
        return [entry for entry in self.entries if isinstance(entry, kind)]

    async def start(self, fleet: LocalFleet, seconds: float, **settings: float) -> asyncio.Task[None]:
        await self.load.start(fleet, load.LoadSettings(**settings), seconds)
        return asyncio.create_task(self.load.follow())


@pytest.fixture
def table(server: Server) -> str:
    server.sql("DROP TABLE IF EXISTS drill")
    for statement in load.create_table("drill", "tercet"):
        server.sql(statement)
    return "drill"


async def test_every_acknowledged_row_is_there_and_in_the_journal(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    rates = {"writes_per_second": 40.0, "reads_per_second": 40.0, "transactions_per_second": 10.0}
    await (await run.start(fleet, 2.0, **rates, **PATIENT))
    run.book.close()
    entries = journal.read(run.path)
    acknowledged = {entry.id: entry for entry in entries if isinstance(entry, journal.Acknowledged)}
    rows = {row[2]: row for row in server.sql(load.table_query(table))}
    assert set(acknowledged) == set(rows)
    assert sum(entry.worker == "writer" for entry in acknowledged.values()) == 80
    assert sum(entry.worker == "transactions" for entry in acknowledged.values()) == 20
    assert all(entry.node == "127.0.0.1" and entry.saw_own for entry in acknowledged.values())
    assert all(entry.first_node == "127.0.0.1" for entry in acknowledged.values() if entry.worker == "transactions")
    assert not [e for e in entries if isinstance(e, journal.Failed | journal.Unknown | journal.Missed)]
    reads = [entry for entry in entries if isinstance(entry, journal.Read)]
    assert len(reads) == 80
    assert reads[-1].seen["sib-01/writer"] > reads[0].seen["sib-01/writer"]
    assert isinstance(entries[-1], journal.Ended)
    assert entries[-1].reason == "finished"
    clock = next(entry for entry in entries if isinstance(entry, journal.Clock))
    assert abs(clock.offset) <= clock.uncertainty < 0.5


async def test_the_writer_waits_for_its_receipt(server: Server, table: str, fleet: LocalFleet, tmp_path: Path) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    await run.load.start(fleet, load.LoadSettings(50, 0, 0), LONG_S)
    # Nobody follows: after the first outcome nothing more may be written.
    await until(lambda: server.sql("SELECT count(*) FROM drill") != [["0"]])
    await asyncio.sleep(0.5)
    assert server.sql("SELECT count(*) FROM drill") == [["1"]]
    await run.load.stop()


async def test_it_ends_at_once_when_the_host_goes_away(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    following = await run.start(fleet, LONG_S)
    await until(lambda: len(run.of(journal.Acknowledged)) > 5)
    await run.load.stop()  # kills it, so that it does not leave with 0, where it does not end by itself
    await following
    assert fleet.processes[0].returncode == 0
    assert run.entries[-1].reason == "stopped"  # type: ignore[attr-defined]


async def test_a_stalled_statement_does_not_hide_the_next_ones(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    settings = {"writes_per_second": 20.0, "reads_per_second": 0.0, "transactions_per_second": 0.0}
    following = await run.start(fleet, 8.0, deadline=0.5, **settings)
    await until(lambda: len(run.of(journal.Acknowledged)) > 5)
    postmaster = server.postmaster()
    backend = int(
        server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'drill' AND query LIKE 'INSERT%'")[0][0]
    )
    frozen = time.time() - run.began
    for pid in (postmaster, backend):
        os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: len(run.of(journal.Missed)) > 5)
    finally:
        for pid in (backend, postmaster):
            os.kill(pid, signal.SIGCONT)
    thawed = time.time() - run.began
    await following
    slots = Counter[str]()
    for entry in run.entries:
        if isinstance(entry, journal.Acknowledged | journal.Failed | journal.Unknown | journal.Missed):
            slots[load.entry_kind(entry)] += 1
    assert sum(slots.values()) == 160  # 8 s x 20: every slot of the schedule has its outcome
    # The frozen statement, and before and after it what a slow machine makes late; the next ones did not even connect.
    (unknown,) = [e for e in run.of(journal.Unknown) if frozen <= e.t <= thawed]  # type: ignore[attr-defined]
    late = [e for e in run.of(journal.Acknowledged) if e.t - e.scheduled > 0.1]  # type: ignore[attr-defined]
    assert late, "the first statements after the stall count from when they were due"
    # The abandoned statement was never cancelled: its row is there once the backend goes on.
    await until(lambda: server.sql(f"SELECT count(*) FROM drill WHERE id = '{unknown.id}'") == [["1"]])  # type: ignore[attr-defined]


async def test_refusals_are_definite_and_carry_their_sqlstate(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo + " options='-c default_transaction_read_only=on'")
    await (await run.start(fleet, 1.0, **PATIENT))
    failures = [e for e in run.of(journal.Failed) if isinstance(e, journal.Failed)]
    assert len(failures) == 25
    assert {failure.sqlstate for failure in failures} == {"25006"}
    assert len(run.of(journal.Connected)) == 3, "a refused statement leaves the connection open"
    assert not run.of(journal.Acknowledged)
    assert server.sql("SELECT count(*) FROM drill") == [["0"]]


async def test_a_terminated_backend_leaves_the_outcome_unknown_and_the_worker_reconnects(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    following = await run.start(fleet, LONG_S, reads_per_second=0, transactions_per_second=0, **PATIENT)
    for connections in range(2, 5):
        before = len(run.of(journal.Acknowledged))
        await until(lambda: len(run.of(journal.Acknowledged)) > before + 5)  # noqa: B023 - within its turn
        server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'drill' AND pid <> pg_backend_pid()"
        )
        await until(lambda: len(run.of(journal.Connected)) == connections)  # noqa: B023
    before = len(run.of(journal.Acknowledged))
    await until(lambda: len(run.of(journal.Acknowledged)) > before + 10)
    await run.load.stop()
    await following
    assert len(run.of(journal.Connected)) == 4
    present = {row[2] for row in server.sql(load.table_query(table))}
    for entry in run.of(journal.Failed):
        assert entry.id not in present  # type: ignore[attr-defined]


async def test_a_warning_comes_with_its_acknowledgement(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    """A commit that waits for a standby which never comes, cancelled by an administrator, says success."""
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.sql("SELECT pg_reload_conf()")
    try:
        await until(lambda: server.sql("SHOW synchronous_standby_names") == [["nobody"]])
        following = await run.start(
            fleet, LONG_S, writes_per_second=2, reads_per_second=0, transactions_per_second=0, deadline=60
        )
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await until(lambda: server.sql(waiting) != [])
        server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        await until(lambda: run.of(journal.Acknowledged) != [])
        assert "canceling wait for synchronous replication" in run.of(journal.Acknowledged)[0].warning  # type: ignore[attr-defined]
        await until(lambda: server.sql(waiting) != [])
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        await until(lambda: run.of(journal.Unknown) != [])
        await run.load.stop()
        await following
    finally:
        await run.load.stop()
        server.sql("ALTER SYSTEM RESET synchronous_standby_names")
        server.sql("SELECT pg_reload_conf()")


async def test_without_a_server_every_write_fails_definitely(fleet: LocalFleet, tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound, so that the port is no other's, and not listening
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        run = Run(tmp_path / "j.jsonl", f"host=127.0.0.1 port={port} dbname=postgres user=tercet")
        await (await run.start(fleet, 1.0, transactions_per_second=0, reads_per_second=0))
    failed = [entry for entry in run.of(journal.Failed) if isinstance(entry, journal.Failed)]
    assert len(failed) + len(run.of(journal.Missed)) == 20
    assert {entry.stage for entry in failed} == {"connect"}


async def test_a_silent_server_costs_the_connect_timeout_and_no_more(fleet: LocalFleet, tmp_path: Path) -> None:
    with contextlib.closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        run = Run(tmp_path / "j.jsonl", f"host=127.0.0.1 port={port} dbname=postgres user=tercet")
        rates = {"transactions_per_second": 0.0, "reads_per_second": 0.0}
        following = await run.start(fleet, LONG_S, connect_timeout=0.3, deadline=60, **rates)
        await until(lambda: run.of(journal.Failed) != [])
        await run.load.stop()
        await following
    failed = [entry for entry in run.of(journal.Failed) if isinstance(entry, journal.Failed)]
    assert failed[0].message == "no connection within the deadline"
    assert 0.25 < failed[0].t - failed[0].scheduled < 30, "a silent server costs the time forever"


async def test_a_load_that_goes_on_in_another_journal_answers_for_each_write_once(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    """Wherever its attempts are when it turns: while the table is locked they all are under way."""
    run = Run(tmp_path / "first.jsonl", server.conninfo)
    following = await run.start(fleet, LONG_S, **PATIENT)
    books, bounds, began = [run.book], [], [run.began]
    for number in range(3):
        await until(lambda: len([e for e in books[-1].entries if isinstance(e, journal.Acknowledged)]) > 10)
        if number == 1:
            lock = asyncio.to_thread(
                server.sql, "BEGIN; LOCK TABLE drill IN EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT"
            )
            locked = asyncio.create_task(lock)
            await asyncio.sleep(1.5)  # until the next statements wait
        books.append(Kept(tmp_path / f"{number}.jsonl"))
        began.append(time.time())
        bounds.append(run.load.turn(books[-1], began[-1]))
    await locked
    await until(lambda: any(isinstance(entry, journal.Acknowledged) for entry in books[-1].entries))
    await run.load.stop()
    await following
    answered: list[str] = []
    for book, of_round in zip(books, bounds, strict=False):
        rows = {row[2] for row in server.sql(load.table_query(table, of_round))}
        acknowledged = {entry.id for entry in book.entries if isinstance(entry, journal.Acknowledged)}
        attempted = {entry.id for entry in book.entries if isinstance(entry, journal.Attempt)}
        assert acknowledged <= rows <= attempted
        assert acknowledged
        answered += acknowledged
    assert len(answered) == len(set(answered))
    assert any(isinstance(entry, journal.Attempt) for entry in books[2].entries[:3]), "nothing was under way"
    for book, start in zip(books[1:], began[1:], strict=True):
        first = next(entry for entry in book.entries if isinstance(entry, journal.Acknowledged))
        assert -1 < first.t < time.time() - start, "on the clock of the new journal, but said before it was heard"
    assert set(bounds[0]) == set(WRITERS)


async def test_a_broken_configuration_is_an_error_with_the_reason(
    server: Server, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    with pytest.raises(load.LoadError, match="at most 86400 seconds"):
        await run.load.start(fleet, load.LoadSettings(writes_per_second=5000), 1.0)


async def test_a_load_that_starts_again_leaves_a_gap_and_its_end_is_told(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    await (await run.start(fleet, 1.0, reads_per_second=0))
    before = run.load.last_seq
    with pytest.raises(load.LoadError):
        await run.load.start(fleet, load.LoadSettings(writes_per_second=5000), 1.0)
    following = await run.start(fleet, LONG_S, reads_per_second=0)
    await until(lambda: run.load.last_seq > before)
    assert run.load.last_seq >= before + load.RESTART_GAP
    fleet.processes[-1].kill()
    await following
    assert [entry.reason for entry in run.of(journal.Ended)] == ["finished", "lost"]  # type: ignore[attr-defined]


async def test_a_start_that_fails_after_its_first_write_is_told(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the judge takes the last write, which the load could not report, for a refused one."""
    monkeypatch.setattr(load, "CLOCK_SAMPLES", 10**9)
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    start = asyncio.create_task(run.load.start(fleet, load.LoadSettings(reads_per_second=0), LONG_S))
    await until(lambda: run.load.last_seq > 0)
    fleet.processes[-1].kill()
    with pytest.raises(load.LoadError):
        await start
    assert [entry.reason for entry in run.of(journal.Ended)] == ["lost"]  # type: ignore[attr-defined]


class SlowFleet(LocalFleet):
    """A node on which a program begins only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        self.asked.set()
        await self.let.wait()
        return await super().spawn(node, argv)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SPAWN_S", 3000.0)


async def starting(tmp_path: Path) -> tuple[load.SiteLoad, SlowFleet, asyncio.Task[None]]:
    """A load whose start is under way."""
    run, fleet = (
        Run(tmp_path / "j.jsonl", "host=127.0.0.1 port=1 dbname=postgres user=tercet"),
        SlowFleet(),
    )
    task = asyncio.create_task(run.load.start(fleet, load.LoadSettings(), 60.0))
    await fleet.asked.wait()
    return run.load, fleet, task


@pytest.mark.usefixtures("patient")
async def test_a_load_that_is_stopped_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    stopped, fleet, start = await starting(tmp_path)
    stop = asyncio.create_task(stopped.stop())
    await asyncio.sleep(0.05)
    assert not stop.done(), "it waits for what is under way"
    fleet.let.set()
    with pytest.raises(load.LoadError, match="apps-sib-01 was stopped before it ran"):
        await start
    await stop
    assert [process.returncode is None for process in fleet.processes] == [False]


@pytest.mark.usefixtures("patient")
async def test_a_load_whose_start_was_cancelled_leaves_no_process(tmp_path: Path) -> None:
    stopped, fleet, start = await starting(tmp_path)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    fleet.let.set()
    await stopped.stop()
    assert [process.returncode is None for process in fleet.processes] == [False]


async def test_a_start_that_does_not_end_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SPAWN_S", 0.05)
    stopped, fleet, start = await starting(tmp_path)
    await stopped.stop()
    with pytest.raises(load.LoadError, match="was stopped"):
        await start
    fleet.let.set()
    with pytest.raises(load.LoadError, match="was stopped"):
        await stopped.start(fleet, load.LoadSettings(), 60.0)
    assert fleet.processes == []


async def test_a_start_that_failed_is_stopped_in_peace(tmp_path: Path) -> None:
    class Gone(LocalFleet):
        async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
            raise Unreachable("the container does not run")

    gone = Run(tmp_path / "j.jsonl", "").load
    with pytest.raises(Unreachable):
        await gone.start(Gone(), load.LoadSettings(), 60.0)
    await gone.stop()


def test_the_password_is_in_no_repr() -> None:
    assert "hush" not in repr(load.LoadTarget("s", "n", "password=hush", "t", ()))


async def test_the_last_success_of_each_worker_is_known(
    server: Server, table: str, fleet: LocalFleet, tmp_path: Path
) -> None:
    run = Run(tmp_path / "j.jsonl", server.conninfo)
    following = await run.start(fleet, LONG_S)
    await until(lambda: set(run.load.succeeded) == {"writer", "reader", "transactions"})
    await run.load.stop()
    await following
    last = {entry.worker: entry.t for entry in run.entries if isinstance(entry, journal.Acknowledged | journal.Read)}
    assert run.load.succeeded == last
    assert set(last) == {"writer", "reader", "transactions"}
