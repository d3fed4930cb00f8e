"""The journal of a drill: one JSON object per line, appended and flushed as events happen.

Invariants
- The journal is also the ledger of acknowledged writes: a line is handed to the operating system before the load's next
  statement is allowed (see run/load.py). So a write that is not in it was never acknowledged to the tool. The journal
  is on the operator's machine, outside the platform, and survives when the tool is killed. A power cut of that machine
  may lose its last lines.
- Every time `t` is in seconds since the drill began, on the operator's clock. The times of a node are converted with
  the latest `Clock` of that node, which has the remaining uncertainty.
- The journal is complete: it has what was observed, what was expected, and the budgets. So the verdict is computed from
  it alone (drills.judge.verdict), at the end of the drill or at any later time.

The published schema is docs/journal.schema.json; a test keeps it equal to these models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tercet.drills.expect import ExpectModel
from tercet.errors import TercetError
from tercet.inventory.base import Model
from tercet.inventory.model import BudgetsModel

VERSION = 2
Worker = Literal["writer", "reader", "transactions"]


class Entry(Model):
    t: float
    """Seconds since the drill began, on the operator's clock."""


class NodeOf(Model):
    name: str
    site: str
    role: str
    address: str
    """Its address in the tailnet, as PostgreSQL reports it with inet_server_addr()."""


class Began(Entry):
    """The first line: the drill, the platform, the expectations, and the time of t = 0."""

    kind: Literal["began"] = "began"
    version: Literal[2] = 2
    """The version of this schema."""
    scenario: str
    title: str
    promise: str
    """The result that the specification demands."""
    expect: ExpectModel
    """What is judged."""
    budgets: BudgetsModel
    """The inventory's budgets in seconds; `expect` refers to them by name."""
    platform: str
    unix: float
    """The operator's clock at t = 0, seconds since 1970."""
    nodes: tuple[NodeOf, ...]
    writes_per_second: float
    """The rate of each site's load; the next two are rates, too."""
    reads_per_second: float
    transactions_per_second: float
    deviation: str = ""
    """What the platform's proxy is known to do with the reads of a transaction before its first write. Empty if the
    primary must answer them.
    """


class Clock(Entry):
    """The difference between a node's clock and the operator's."""

    kind: Literal["clock"] = "clock"
    node: str
    offset: float
    """Seconds that the node's clock is ahead."""
    uncertainty: float
    """The offset is correct within plus or minus this many seconds: half the round trip of the question."""


class OfLoad(Entry):
    site: str
    worker: Worker
    scheduled: float
    """When this statement was due in the open-loop schedule; latency is counted from here."""


class OfWrite(OfLoad):
    writer: str
    """The writing connection, unique in the drill, such as sib-01/writer."""
    seq: int
    """Counts this writer's attempts."""
    id: str
    """The ID of the row, unique in the drill."""


class Attempt(OfWrite):
    """A write is about to be sent. Without a line on its outcome, the outcome is unknown."""

    kind: Literal["attempt"] = "attempt"


class Acknowledged(OfWrite):
    """The platform reported that the write is committed."""

    kind: Literal["acknowledged"] = "acknowledged"
    node: str
    """Address of the PostgreSQL that answered."""
    warning: str = ""
    """A WARNING with the answer, for example about a cancelled wait for a standby."""
    first_node: str = ""
    """Transactions: address of the PostgreSQL that answered the SELECT before the write."""
    read_node: str = ""
    """Transactions: address of the PostgreSQL that answered the SELECT after the write."""
    saw_own: bool = True
    """Transactions: the SELECT after the write saw the row just written."""


class Failed(OfLoad):
    """Definitely not done: refused by an error before commit, or never sent."""

    kind: Literal["failed"] = "failed"
    writer: str = ""
    seq: int = 0
    id: str = ""
    stage: Literal["connect", "statement", "commit"]
    sqlstate: str = ""
    message: str


class Unknown(OfWrite):
    """Sent, but without a reliable answer: the row may exist or not."""

    kind: Literal["unknown"] = "unknown"
    stage: Literal["statement", "commit"]
    sqlstate: str = ""
    message: str


class Missed(OfLoad):
    """Never sent, because the connection was busy with an earlier statement for too long."""

    kind: Literal["missed"] = "missed"


class Read(OfLoad):
    """A read was answered."""

    kind: Literal["read"] = "read"
    sent: float
    node: str
    """Address of the PostgreSQL that answered."""
    seen: dict[str, int]
    """The highest visible sequence number of each writer; 0 if there is none."""


class Connected(Entry):
    kind: Literal["connected"] = "connected"
    site: str
    worker: Worker
    seconds: float
    """The duration of the connection attempt in seconds."""


class Ended(Entry):
    """The load of a site is over. Any other reason than `finished` or `stopped` means it was lost."""

    kind: Literal["ended"] = "ended"
    site: str
    reason: str


class Fault(Entry):
    kind: Literal["fault"] = "fault"
    action: Literal["injecting", "injected", "healing", "healed", "heal failed"]
    fault: str
    """What was done to which target, such as "site sib-01 killed"."""
    nodes: tuple[str, ...] = ()
    """The nodes that it hits."""
    sites: tuple[str, ...] = ()
    """The sites whose applications are not expected to get through while it lasts."""
    detail: str = ""


class Primary(Entry):
    """From now on this node is the primary, according to Patroni's cluster view."""

    kind: Literal["primary"] = "primary"
    node: str


class Route(Entry):
    """From now on, reads of this site belong to one of these nodes. If there is none, any node may answer."""

    kind: Literal["route"] = "route"
    site: str
    reads: tuple[str, ...]


class Record(Entry):
    """What a component logged, from its node's journal."""

    kind: Literal["record"] = "record"
    node: str
    component: str
    what: str
    """One of drills.judge.records.What."""
    subject: str = ""
    """The member, lock, check or file that it is about."""
    text: str
    """The line as it was logged."""


class Table(Entry):
    """The rows of one writer in the table at the end, on `node`."""

    kind: Literal["table"] = "table"
    node: str
    writer: str
    rows: tuple[tuple[int, str, float], ...]
    """(seq, id, written_at on the drill's clock) in the order of written_at."""


class Promise(Entry):
    """A statement about the platform that the scenario demands, and whether it holds."""

    kind: Literal["promise"] = "promise"
    name: str
    held: bool
    detail: str = ""


class Predicted(Entry):
    """The prediction from the running configuration; see drills.run.predict."""

    kind: Literal["predicted"] = "predicted"
    expected: float
    """Seconds without writes, the mean."""
    bound: float
    """99 of 100 failures take less time."""
    links: tuple[tuple[str, float, float, str], ...]
    """(link of the chain, expected seconds, bound in seconds, source of the numbers)."""


class Collected(Entry):
    """Everything that the verdict depends on is above. A journal without this line is incomplete and cannot be
    judged.
    """

    kind: Literal["collected"] = "collected"


class Verdict(Entry):
    """The last line of a drill that was judged."""

    kind: Literal["verdict"] = "verdict"
    passed: bool
    reasons: tuple[str, ...] = ()
    """Every promise or budget that was broken."""


AnyEntry = Annotated[
    Began
    | Clock
    | Attempt
    | Acknowledged
    | Failed
    | Unknown
    | Missed
    | Read
    | Connected
    | Ended
    | Fault
    | Primary
    | Route
    | Record
    | Table
    | Promise
    | Predicted
    | Collected
    | Verdict,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyEntry] = TypeAdapter(AnyEntry)


class JournalError(TercetError):
    """The journal cannot be read. The message says which line and why."""


class Journal:
    """An open journal. `append` returns when the operating system has the line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def append(self, entry: Entry) -> None:
        self._file.write(line_of(entry))

    def close(self) -> None:
        """Close the journal. Its lines are on the disk when this returns."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def line_of(entry: Entry) -> bytes:
    """The entry as one line of JSON, with times in steps of 10 microseconds."""
    return json.dumps(_rounded(entry.model_dump(mode="json")), separators=(",", ":")).encode() + b"\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return value


def parse(data: Any) -> AnyEntry:
    """One entry from parsed JSON. Raises pydantic.ValidationError."""
    return _ADAPTER.validate_python(data)


Torn = Callable[[int], None]
"""Called with the number of a last line that is incomplete because of a crash and is left out."""


def _silent(_line: int) -> None: ...


def read(path: Path, torn: Torn = _silent) -> list[AnyEntry]:
    """All entries in order. An incomplete last line is left out; any other invalid line is an error."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise JournalError(
            f"cannot read the journal {path}: {error.strerror}; give the path of a drill's .jsonl file"
        ) from error
    return list(read_lines(text.splitlines(keepends=True), str(path), torn))


def read_lines(lines: Iterable[bytes], name: str = "journal", torn: Torn = _silent) -> Iterator[AnyEntry]:
    """The same from lines with their line ends. `name` is what errors call the source."""
    for number, line in enumerate(lines, 1):
        try:
            entry = _ADAPTER.validate_json(line)
        except ValidationError as error:
            if not line.endswith(b"\n"):
                torn(number)
                return
            version = _version(line)
            if version not in (None, VERSION):
                raise JournalError(
                    f"{name}, line {number}: expected a journal of version {VERSION}, found version {version}; "
                    f"another version of tercet wrote it and can read it"
                ) from None
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise JournalError(
                f"{name}, line {number}: expected an entry of docs/journal.schema.json, found {first['msg']}"
                f"{' at ' + where if where else ''}; the file is not a drill journal, or it was edited"
            ) from error
        yield entry


def _version(line: bytes) -> Any:
    """The version of the schema in a journal's first line; None if it is not such a line."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said.get("version") if isinstance(said, dict) and said.get("kind") == "began" else None


def schema() -> dict[str, Any]:
    """The JSON Schema of one line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of a tercet drill journal",
        **_ADAPTER.json_schema(),
    }


def schema_text() -> str:
    """The contents of docs/journal.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"
