"""The host's side of the load: it starts the load on an apps node, records its entries, and confirms them.

Invariant: an outcome is in the journal before its receipt is sent, and without the receipt the writing connection on
the node does not continue. So no acknowledged write is missing from the journal, whenever the tool is killed.

Invariant: `stop` ends everything that was started on a node, and nothing is started after it. `stop` waits for a start
that is under way, even if its caller was cancelled, and ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any

from pydantic import ValidationError

from tercet.converge.fleet import Fleet
from tercet.drills import journal
from tercet.drills.run.clock import NodeClock, Sample, estimate
from tercet.errors import TercetError

RECEIPTS = {"acknowledged", "failed", "unknown"}
TIMES = ("t", "scheduled", "sent")
CLOCK_SAMPLES = 5
SPAWN_S = 30.0  # seconds that `stop` waits for a start under way; then it is cancelled
RESTART_GAP = 1000  # numbers that a load leaves free when it is started again: the last write before may be unknown


class LoadError(TercetError):
    """The load could not be started on a node, or printed something that is not valid."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """The settings of the load of each site; see nodeside/load.py. Rates per second, times in seconds."""

    writes_per_second: float = 20.0
    reads_per_second: float = 20.0
    transactions_per_second: float = 5.0
    deadline: float = 1.0
    connect_timeout: float = 1.0
    backoff_cap: float = 0.2


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where a site's load runs and what it connects to. `conninfo` holds the password."""

    site: str
    node: str
    conninfo: str = field(repr=False)
    table: str
    writers: tuple[str, ...]


def create_table(table: str, owner: str) -> tuple[str, ...]:
    """The statements that make a drill's table. It has no unique key, so that duplicate rows can be found.

    `table` and `owner` are plain SQL identifiers.
    """
    return (
        f'CREATE TABLE "{table}" (id text NOT NULL, site text NOT NULL, writer text NOT NULL, '
        "seq bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT clock_timestamp())",
        f'CREATE INDEX ON "{table}" (writer, seq)',
        f'CREATE INDEX ON "{table}" (id)',
        f'ALTER TABLE "{table}" OWNER TO "{owner}"',
    )


Bounds = Mapping[str, tuple[int, int]]
"""By writer: the first and the last number of a range of its writes."""


def table_query(table: str, bounds: Bounds | None = None) -> str:
    """The query for the rows of a drill's table, or for those within the bounds: (writer, seq, id, written_at in Unix
    seconds), by writer and time.
    """
    within = [f"(writer = '{writer}' AND seq BETWEEN {a} AND {b})" for writer, (a, b) in (bounds or {}).items()]
    return (
        f'SELECT writer, seq, id, extract(epoch FROM written_at)::float8 FROM "{table}" '
        f"{'WHERE ' + ' OR '.join(within) if within else ''} ORDER BY writer, written_at, seq"
    )


def writers_of(sites: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the writing connections of these sites."""
    return tuple(f"{site}/{worker}" for site in sites for worker in ("writer", "transactions"))


def launch() -> tuple[list[str], bytes]:
    """The command line that runs the load on a node, and the first data for its standard input.

    The program's source is sent on standard input, so nothing is left on the node, and the program always has the
    version of this tercet.
    """
    source = resources.files("tercet.nodeside").joinpath("load.py").read_bytes()
    boot = (
        "import os,sys\n"
        "b=b''\n"
        f"while len(b)<{len(source)}:\n"
        f" d=os.read(0,{len(source)}-len(b))\n"
        " b+=d or sys.exit('the host went away')\n"
        "exec(compile(b,'load.py','exec'))\n"
    )
    return ["python3", "-u", "-c", boot], source


class SiteLoad:
    """The running load of one site. `start`, then `follow` until it ends; `stop` ends it."""

    def __init__(self, target: LoadTarget, book: journal.Journal, began: float) -> None:
        self.target = target
        self.clock = NodeClock(0.0, float("inf"))
        self.last_seq = 0
        self.succeeded: dict[str, float] = {}  # by worker: the drill's second of its last success
        self._last: dict[str, int] = {}  # by writer: its last attempt
        self._first: dict[str, int] = {}  # by writer: the first attempt that belongs to this journal
        self._open: dict[str, dict[str, Any]] = {}  # by writer: the attempt whose outcome is not known yet
        self._book, self._began = book, began
        self._process: asyncio.subprocess.Process | None = None
        self._spawning: asyncio.Future[asyncio.subprocess.Process] | None = None
        self._stopping = False

    async def start(self, fleet: Fleet, settings: LoadSettings, seconds: float) -> None:
        """Start the program and relate its clock.

        Raises LoadError if it does not answer within 10 s, or if it was stopped.
        """
        argv, source = launch()
        attempted = self.last_seq
        await self._spawn(fleet, argv)
        configuration = {
            "site": self.target.site,
            "conninfo": self.target.conninfo,
            "table": f'"{self.target.table}"',
            "writers": self.target.writers,
            "seconds": seconds,
            "first_seq": self.last_seq + RESTART_GAP if self.last_seq else 1,
            **asdict(settings),
        }
        try:
            async with asyncio.timeout(10):
                await self._send(source + json.dumps(configuration).encode() + b"\n")
                await self._relate()
        except (TimeoutError, OSError, LoadError) as error:
            said = await self._last_words()
            await self._end()
            if self.last_seq > attempted:  # else the judge would take its last, unreported writes for refused ones
                self._tell_end("lost")
            raise LoadError(
                f"expected the load on {self.target.node} to start within 10 s, found: {said or error}; "
                f"check python3 and python3-psycopg on the node"
            ) from error

    async def _spawn(self, fleet: Fleet, argv: list[str]) -> None:
        """Start the program's process. `stop` learns of it even if the caller is cancelled meanwhile."""
        if not self._stopping:
            self._spawning = asyncio.ensure_future(fleet.spawn(self.target.node, argv))
            await asyncio.wait([self._spawning])
            if not self._spawning.cancelled():
                self._process = self._spawning.result()
        if self._stopping:
            await self._end()
            raise LoadError(f"the load on {self.target.node} was stopped before it ran")

    async def _relate(self) -> None:
        samples: list[Sample] = []
        while len(samples) < CLOCK_SAMPLES:
            sent = time.time()
            await self._send(b"?")
            while True:
                said = await self._line()
                if said is None:
                    raise LoadError("it ended")
                if said["kind"] == "clock":
                    samples.append(Sample(sent, float(said["t"]), time.time()))
                    break
                await self._record(said)
            self.clock = estimate(samples)
        self._tell_clock()

    def _tell_clock(self) -> None:
        self._book.append(
            journal.Clock(
                t=time.time() - self._began,
                node=self.target.node,
                offset=self.clock.offset,
                uncertainty=self.clock.uncertainty,
            )
        )

    async def follow(self) -> None:
        """Record and confirm everything until the program ends."""
        reason = "lost"
        while (said := await self._line()) is not None:
            if said["kind"] == "ended":
                reason = str(said["reason"])
            elif said["kind"] != "clock":
                await self._record(said)
        if self._stopping and reason == "lost":
            reason = "stopped"
        self._tell_end(reason)

    def _tell_end(self, reason: str) -> None:
        self._book.append(journal.Ended(t=time.time() - self._began, site=self.target.site, reason=reason))

    def turn(self, book: journal.Journal, began: float) -> dict[str, tuple[int, int]]:
        """Write all further entries into another journal, whose time began at `began` (Unix seconds).

        An attempt under way is written there again, so that its outcome has an attempt in the same journal. Returns by
        writer the first and the last attempt that belong to the journal until now.
        """
        answered = {writer: (self._first.get(writer, 1), last) for writer, last in self._last.items()}
        shift = began - self._began
        self._book, self._began = book, began
        self.succeeded = {worker: t - shift for worker, t in self.succeeded.items()}
        self._tell_clock()
        for said in self._open.values():
            self._book.append(self._entry(said))
        self._first = {writer: last + (writer not in self._open) for writer, last in self._last.items()}
        return answered

    def _entry(self, said: dict[str, Any]) -> journal.AnyEntry:
        times = {name: self.clock.drill_time(said[name], self._began) for name in TIMES if name in said}
        try:
            return journal.parse({**said, **times})
        except ValidationError as error:
            raise LoadError(
                f"the load on {self.target.node} said something that is not a journal entry "
                f"({error.errors()[0]['msg']}); this is a bug of tercet"
            ) from error

    async def _record(self, said: dict[str, Any]) -> None:
        entry = self._entry(said)
        self._book.append(entry)
        if isinstance(entry, journal.Acknowledged | journal.Read):
            self.succeeded[entry.worker] = entry.t
        if isinstance(entry, journal.OfWrite):
            self.last_seq = max(self.last_seq, entry.seq)
            self._last[entry.writer] = max(entry.seq, self._last.get(entry.writer, 0))
        if isinstance(entry, journal.Attempt):
            self._open[entry.writer] = said
        elif said.get("writer") in self._open and self._open[said["writer"]]["seq"] == said["seq"]:
            del self._open[said["writer"]]
        if entry_kind(entry) in RECEIPTS and said["worker"] != "reader":
            with contextlib.suppress(OSError):
                await self._send(said["worker"][0].encode())

    async def _line(self) -> dict[str, Any] | None:
        """The next entry of the program; None at its end. An incomplete last line counts as the end."""
        process = self._running()
        if process.stdout is None:
            return None
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict) or "kind" not in said:
            raise LoadError(f"the load on {self.target.node} printed {line[:120]!r}, expected a journal entry")
        return said

    async def _send(self, data: bytes) -> None:
        process = self._running()
        if process.stdin is None:
            return
        process.stdin.write(data)
        await process.stdin.drain()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise LoadError(f"the load on {self.target.node} was not started")
        return self._process

    async def _last_words(self) -> str:
        process = self._running()
        if process.stderr is None:
            return ""
        try:
            async with asyncio.timeout(1):
                lines = (await process.stderr.read(4096)).decode("utf-8", "replace").strip().splitlines()
        except TimeoutError:
            return ""
        return lines[-1] if lines else ""

    async def stop(self) -> None:
        """Close its standard input, which ends it permanently; kill it if it still runs after 3 s. Idempotent."""
        self._stopping = True
        if self._spawning is not None:
            _, late = await asyncio.wait([self._spawning], timeout=SPAWN_S)
            if late:
                self._spawning.cancel()
            elif not self._spawning.cancelled() and self._spawning.exception() is None:
                self._process = self._spawning.result()
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def entry_kind(entry: journal.Entry) -> str:
    """The `kind` of any entry."""
    return str(getattr(entry, "kind", ""))
