"""The load of one site: runs on its apps node and connects to localhost, like a real application.

It has three separate connections: one writes rows, one reads, and one runs transactions that write and read.

Invariants
- Open loop: statement k is due at start + k / rate, regardless of what happened to earlier ones, and its latency counts
  from that time. A statement that still waits for its connection a whole deadline after it was due is reported as
  missed.
- Every wait ends at a deadline. A late statement is ended by closing the connection, never by a CancelRequest: a
  cancelled wait for a standby would report success for a row that no standby has.
- A writing connection continues only when the host has confirmed on standard input that it recorded the outcome of the
  last write: one byte, the worker's first letter.
- The program ends by itself when its time is over, and at once when standard input closes.

Protocol: the first line of standard input is the configuration, one JSON object (see `Settings`). It is not an
argument, because it contains the password. Single bytes follow: receipts, or `?`, which asks for the node's time.
Standard output has one JSON object per line, an entry of the drill's journal with times in this node's Unix seconds.

Needs python3 and psycopg 3. It uses libpq directly through psycopg.pq, because psycopg itself sends a CancelRequest
when a wait is abandoned. It imports no other module of tercet: only this file is sent to the node.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from psycopg import OperationalError, pq

# Errors in these classes can come from a proxy or a dying server after the statement took effect.
UNSURE_CLASSES = ("08", "57P", "58", "XX", "40003")

LONGEST_S = 24 * 3600  # the longest duration, of a soak


@dataclass(frozen=True)
class Settings:
    """The configuration from the host. Times in seconds, rates per second."""

    site: str
    conninfo: str = field(repr=False)
    table: str  # quoted by the host
    writers: tuple[str, ...]  # the writers of all sites, whose rows the reader looks for
    seconds: float
    writes_per_second: float = 20.0
    reads_per_second: float = 20.0
    transactions_per_second: float = 5.0
    deadline: float = 1.0
    connect_timeout: float = 1.0
    backoff_cap: float = 0.2
    first_seq: int = 1  # greater than 1 if the load of a site was started again

    def __post_init__(self) -> None:
        rates = (self.writes_per_second, self.reads_per_second, self.transactions_per_second)
        if not 0 < self.seconds <= LONGEST_S or not all(0 <= rate <= 200 for rate in rates):
            raise ValueError(f"expected at most {LONGEST_S} seconds and 200 statements a second of each kind")


class StoppedError(Exception):
    """Standard input was closed, or the time is over."""


class ServerError(Exception):
    """The server, or a proxy, answered with an error."""

    def __init__(self, severity: str, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.definite = severity == "ERROR" and not sqlstate.startswith(UNSURE_CLASSES)


class LostError(Exception):
    """The connection ended, or a deadline passed and it was closed."""


class Host:
    """Standard input and output: entries out, receipts in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receipts = {letter: threading.Semaphore(0) for letter in "wt"}
        self._stop_read, self._stop_write = os.pipe()
        self.stopping = threading.Event()

    def emit(self, kind: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, **values}, separators=(",", ":")) + "\n"
        with self._lock:
            try:
                sys.stdout.write(line)
                sys.stdout.flush()
            except OSError:
                self.stop()

    def stop(self) -> None:
        """Wake every worker; idempotent."""
        if not self.stopping.is_set():
            self.stopping.set()
            os.write(self._stop_write, b".")
            for receipt in self._receipts.values():
                receipt.release()

    def await_receipt(self, letter: str) -> None:
        """Raises StoppedError if the host does not confirm within 30 s, because it is then gone or stuck."""
        if not self._receipts[letter].acquire(timeout=30):
            self.stop()
        if self.stopping.is_set():
            raise StoppedError

    def wait(self, until: float, reads: tuple[int, ...] = (), writes: tuple[int, ...] = ()) -> bool:
        """Wait for a socket until a time of the monotonic clock; False if that time passed. Raises StoppedError."""
        left = max(0.0, until - time.monotonic())
        readable, writable, _ = select.select([*reads, self._stop_read], writes, [], left)
        if self._stop_read in readable:
            raise StoppedError
        return bool(readable or writable)

    def serve(self, finished: int) -> None:
        """Read receipts until standard input closes or `finished` (a file descriptor) becomes readable."""
        while True:
            readable, _, _ = select.select([0, finished], [], [])
            if finished in readable:
                return
            data = os.read(0, 4096).decode("ascii", "replace")
            if not data:
                self.stop()
                return
            for letter in data:
                if letter == "?":
                    self.emit("clock", t=time.time())
                elif letter in self._receipts:
                    self._receipts[letter].release()


class Connection:
    """One non-blocking connection through libpq. Every call has a deadline on the monotonic clock."""

    def __init__(self, host: Host, conninfo: str, timeout: float) -> None:
        """Connects. Raises LostError, StoppedError."""
        self._host = host
        self.warnings: list[str] = []
        deadline = time.monotonic() + timeout
        self._pg = pq.PGconn.connect_start(conninfo.encode())
        try:
            self._finish_connecting(deadline)
        except BaseException:
            self.close()
            raise
        self._pg.nonblocking = 1
        self._pg.notice_handler = self._notice

    def _finish_connecting(self, deadline: float) -> None:
        while True:
            if self._pg.status == pq.ConnStatus.BAD:
                raise LostError(_text(self._pg.error_message))
            state = self._pg.connect_poll()
            if state == pq.PollingStatus.OK:
                return
            if state == pq.PollingStatus.FAILED:
                raise LostError(_text(self._pg.error_message))
            socket = (self._pg.socket,)
            reading = state == pq.PollingStatus.READING
            if not self._host.wait(deadline, socket if reading else (), () if reading else socket):
                raise LostError("no connection within the deadline")

    def _notice(self, result: Any) -> None:
        severity = _text(result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED))
        if severity == "WARNING":
            sqlstate = _text(result.error_field(pq.DiagnosticField.SQLSTATE))
            message = _text(result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY))
            self.warnings.append(f"{sqlstate} {message}")

    def execute(self, sql: str, values: tuple[str, ...], deadline: float) -> tuple[str, list[list[str]]]:
        """The command tag and the rows. Raises ServerError, StoppedError, and LostError after closing the
        connection.
        """
        self.warnings = []
        results: list[Any] = []
        try:
            self._pg.send_query_params(sql.encode(), [value.encode() for value in values])
            self._flush(deadline)
            self._receive(results, deadline)
        except OperationalError as error:
            self.close()
            _raise_refusal(results)  # if the server sends a reason before it closes, that reason counts
            raise LostError(str(error)) from None
        except BaseException:
            self.close()
            raise
        _raise_refusal(results)
        if not results:
            self.close()
            raise LostError("the connection ended without an answer")
        return _text(results[-1].command_status), _rows(results[-1])

    def _flush(self, deadline: float) -> None:
        while self._pg.flush():
            if not self._host.wait(deadline, (self._pg.socket,), (self._pg.socket,)):
                raise LostError("not sent within the deadline")
            self._pg.consume_input()

    def _receive(self, results: list[Any], deadline: float) -> None:
        while True:
            while self._pg.is_busy():
                if not self._host.wait(deadline, (self._pg.socket,)):
                    raise LostError("no answer within the deadline")
                self._pg.consume_input()
            result = self._pg.get_result()
            if result is None:
                return
            results.append(result)

    @property
    def closed(self) -> bool:
        return self._pg.status == pq.ConnStatus.BAD

    def close(self) -> None:
        """Closes the socket, without a message to the server about a statement under way."""
        self._pg.finish()


def _text(value: bytes | None) -> str:
    lines = (value or b"").decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else ""


def _rows(result: Any) -> list[list[str]]:
    return [[_text(result.get_value(row, column)) for column in range(result.nfields)] for row in range(result.ntuples)]


def _raise_refusal(results: list[Any]) -> None:
    fields = pq.DiagnosticField
    for result in results:
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            severity = _text(result.error_field(fields.SEVERITY_NONLOCALIZED))
            message = _text(result.error_field(fields.MESSAGE_PRIMARY)) or _text(result.error_message)
            raise ServerError(severity, _text(result.error_field(fields.SQLSTATE)), message)


class WorkerConnection:
    """A worker's connection. It reconnects like a good application: at once, then with jitter up to a limit."""

    def __init__(self, host: Host, settings: Settings, worker: str) -> None:
        self._host, self._settings, self._worker = host, settings, worker
        self._connection: Connection | None = None
        self._failures = 0

    def connection(self) -> Connection:
        """An open connection. Raises LostError, StoppedError."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._failures:
            longest = min(self._settings.backoff_cap, 0.02 * 2**self._failures)
            self._host.wait(time.monotonic() + random.uniform(0, longest))
        began = time.monotonic()
        try:
            self._connection = Connection(self._host, self._settings.conninfo, self._settings.connect_timeout)
        except (LostError, OperationalError):
            self._failures = min(self._failures + 1, 10)
            raise
        self._failures = 0
        self._host.emit(
            "connected",
            t=time.time(),
            site=self._settings.site,
            worker=self._worker,
            seconds=time.monotonic() - began,
        )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Load:
    """The three workers."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host, self._settings = host, settings
        table = settings.table
        self._insert = (
            f"INSERT INTO {table} (id, site, writer, seq) VALUES ($1, $2, $3, $4) RETURNING host(inet_server_addr())"
        )
        # A transaction reads before it writes: with some proxies, another server than the primary then answers.
        self._first = f"SELECT host(inet_server_addr()), max(seq) FROM {table} WHERE writer = $1"
        self._own = f"SELECT host(inet_server_addr()), count(*) FROM {table} WHERE id = $1"
        # One index probe per writer, and the answering server in the same SELECT: through a proxy, another server may
        # answer a second statement.
        self._select = (
            "SELECT host(inet_server_addr()), w.writer, "
            f"(SELECT max(seq) FROM {table} AS t WHERE t.writer = w.writer) "
            "FROM unnest($1::text[]) AS w(writer)"
        )

    def run(self) -> None:
        """Runs all three workers until their time is over or the host stops them."""
        settings = self._settings
        start = (time.time(), time.monotonic())
        works: list[tuple[str, float, Callable[[WorkerConnection, float, int], None]]] = [
            ("writer", settings.writes_per_second, self._write),
            ("reader", settings.reads_per_second, self._read),
            ("transactions", settings.transactions_per_second, self._transact),
        ]
        threads = [
            threading.Thread(target=self._work, args=(name, rate, start, once), name=name)
            for name, rate, once in works
            if rate > 0
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(
        self, name: str, rate: float, start: tuple[float, float], once: Callable[[WorkerConnection, float, int], None]
    ) -> None:
        session = WorkerConnection(self._host, self._settings, name)
        site = self._settings.site
        try:
            for number, after in self._slots(rate):
                self._host.wait(start[1] + after)
                scheduled = start[0] + after
                if time.monotonic() - start[1] - after > self._settings.deadline:
                    self._host.emit("missed", t=time.time(), site=site, worker=name, scheduled=scheduled)
                    continue
                once(session, scheduled, self._settings.first_seq + number)
        except StoppedError:
            pass
        finally:
            session.close()

    def _slots(self, rate: float) -> Iterator[tuple[int, float]]:
        phase = random.uniform(0, 1 / rate)
        for number in range(int(self._settings.seconds * rate)):
            yield number, phase + number / rate

    def _write(self, session: WorkerConnection, scheduled: float, seq: int) -> None:
        def insert(connection: Connection, row: dict[str, Any], stage: list[str]) -> dict[str, Any]:
            stage[0] = "commit"  # one statement is one transaction: its answer is the commit's
            deadline = time.monotonic() + self._settings.deadline
            _, rows = connection.execute(self._insert, self._values(row), deadline)
            return {"node": rows[0][0], "warning": "; ".join(connection.warnings)}

        self._recorded("writer", session, scheduled, seq, insert)

    def _transact(self, session: WorkerConnection, scheduled: float, seq: int) -> None:
        def transaction(connection: Connection, row: dict[str, Any], stage: list[str]) -> dict[str, Any]:
            deadline = time.monotonic() + self._settings.deadline
            connection.execute("BEGIN", (), deadline)
            try:
                _, first = connection.execute(self._first, (row["writer"],), deadline)
                _, rows = connection.execute(self._insert, self._values(row), deadline)
                _, own = connection.execute(self._own, (row["id"],), deadline)
                stage[0] = "commit"
                tag, _ = connection.execute("COMMIT", (), deadline)
            except ServerError:
                if stage[0] == "statement" and not connection.closed:
                    _roll_back(connection, deadline)
                raise
            if tag != "COMMIT":
                raise ServerError("ERROR", "25P02", f"COMMIT was answered with {tag}")
            return {
                "node": rows[0][0],
                "warning": "; ".join(connection.warnings),
                "first_node": first[0][0],
                "read_node": own[0][0],
                "saw_own": own[0][1] == "1",
            }

        self._recorded("transactions", session, scheduled, seq, transaction)

    def _values(self, row: dict[str, Any]) -> tuple[str, ...]:
        return (row["id"], row["site"], row["writer"], str(row["seq"]))

    def _recorded(
        self,
        worker: str,
        session: WorkerConnection,
        scheduled: float,
        seq: int,
        act: Callable[[Connection, dict[str, Any], list[str]], dict[str, Any]],
    ) -> None:
        """One write. Its attempt and its outcome are reported to the host; it ends with the host's receipt."""
        row = {
            "site": self._settings.site,
            "worker": worker,
            "writer": f"{self._settings.site}/{worker}",
            "seq": seq,
            "id": str(uuid.uuid4()),
            "scheduled": scheduled,
        }
        stage = ["connect"]
        self._host.emit("attempt", t=time.time(), **row)
        try:
            connection = session.connection()
            stage[0] = "statement"
            answer = act(connection, row, stage)
            self._host.emit("acknowledged", t=time.time(), **row, **answer)
        except ServerError as error:
            # Before the commit was sent, nothing can have been committed, whatever the error is.
            kind = "failed" if error.definite or stage[0] != "commit" else "unknown"
            said = {"sqlstate": error.sqlstate, "message": str(error)}
            self._host.emit(kind, t=time.time(), **row, stage=stage[0], **said)
        except (LostError, OperationalError) as error:
            kind = "unknown" if stage[0] == "commit" else "failed"
            message = str(error).strip() or "connection lost"
            self._host.emit(kind, t=time.time(), **row, stage=stage[0], message=message)
        self._host.await_receipt(worker[0])

    def _read(self, session: WorkerConnection, scheduled: float, _seq: int) -> None:
        row = {"site": self._settings.site, "worker": "reader", "scheduled": scheduled}
        stage = "connect"
        try:
            connection = session.connection()
            stage = "statement"
            sent = time.time()
            array = "{" + ",".join(f'"{writer}"' for writer in self._settings.writers) + "}"
            deadline = time.monotonic() + self._settings.deadline
            _, rows = connection.execute(self._select, (array,), deadline)
            seen = {writer: int(seq or 0) for _, writer, seq in rows}
            self._host.emit("read", t=time.time(), **row, sent=sent, node=rows[0][0], seen=seen)
        except ServerError as error:
            said = {"sqlstate": error.sqlstate, "message": str(error)}
            self._host.emit("failed", t=time.time(), **row, stage=stage, **said)
        except (LostError, OperationalError) as error:
            message = str(error).strip() or "connection lost"
            self._host.emit("failed", t=time.time(), **row, stage=stage, message=message)


def _roll_back(connection: Connection, deadline: float) -> None:
    try:
        connection.execute("ROLLBACK", (), deadline)
    except (ServerError, LostError):
        connection.close()


def _configuration() -> Settings:
    """The first line of standard input, read without consuming any byte after it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit("expected the configuration as the first line of standard input, found its end")
        line += byte
    values = json.loads(line)
    return Settings(**{**values, "writers": tuple(values["writers"])})


def main() -> None:
    settings = _configuration()
    host = Host()
    finished_read, finished_write = os.pipe()

    def run() -> None:
        try:
            Load(host, settings).run()
        finally:
            reason = "stopped" if host.stopping.is_set() else "finished"
            host.emit("ended", t=time.time(), site=settings.site, reason=reason)
            os.write(finished_write, b".")

    thread = threading.Thread(target=run, name="load")
    thread.start()
    host.serve(finished_read)
    thread.join()


if __name__ == "__main__":
    main()
