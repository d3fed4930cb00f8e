"""`python bench/evidence.py`: writes README's table of failures, promises and measured figures.

The figures come from the files in `bench/results/`, which `make bench` wrote and somebody committed, and from nowhere
else: copy `bench/result.json` there under the day's date, run this, and commit both. What no file has is "not measured
yet". A drill's row is taken from the newest file that has it, and the lines below the table say which machine that was
and when. tests/test_evidence.py holds README and this program together.

What is read of a file (bench/run.py writes it; the rest is for others):

    when      ISO 8601, UTC
    machine   {"cpu", "cores", "memory_gb", "kernel"}, any of them
    other_programs_cores   cores that other programs took; may be missing
    drills    of each figure {"drill", "figure", "samples": one a run, null where there was no end};
              of each drill's promises {"drill", "name": "promises", "met", "broken": reasons, "lost"}, where `lost` is
              the number of acknowledged writes lost in all runs, and may be missing
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
BEGIN = "<!-- evidence: begin (written by bench/evidence.py) -->"
END = "<!-- evidence: end -->"
NOTHING = "not measured yet"


class EvidenceError(Exception):
    """A file that cannot be read as results, or a README without the markers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One failure. `figure` of `drill` is in seconds; `seconds` says of what."""

    failure: str
    promise: str
    drill: str
    figure: str
    seconds: str


WITHOUT_WRITES = "without an acknowledged write"
DIES = "Nomad goes on with two of three servers; PostgreSQL goes on with one standby"
CUT_OFF = "it runs standalone, its reads grow stale, its Nomad server is marked failed"
PRIMARY = "noticed within about 10 s, a standby is promoted, tags change, the proxies reroute"
ROWS = (
    Row("The primary's datacenter dies", DIES, "site-killed", "writes", WITHOUT_WRITES),
    Row("the same", "its jobs are rescheduled", "site-killed", "allocations", "until its jobs run elsewhere"),
    Row("A standby's datacenter dies", DIES, "site-killed-without-primary", "writes", WITHOUT_WRITES),
    Row("The primary's datacenter is cut off", CUT_OFF, "site-cut", "writes", WITHOUT_WRITES),
    Row("A standby's datacenter is cut off", CUT_OFF, "site-cut-without-primary", "writes", WITHOUT_WRITES),
    Row("The primary's node dies", PRIMARY, "node-killed", "writes", WITHOUT_WRITES),
    Row("The primary's PostgreSQL dies", PRIMARY, "postmaster-killed", "writes", WITHOUT_WRITES),
    Row(
        "Both standbys are lost",
        "the primary becomes read-only, nothing is lost",
        "standbys-lost",
        "refused",
        "until writes are refused",
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's samples, one a run, in seconds; infinite where there was no end. `broken` counts the reasons for which
    runs broke a promise. `lost`: acknowledged writes lost in all runs; None where the file does not say."""

    samples: tuple[float, ...]
    broken: int
    lost: int | None
    source: Results


@dataclass(frozen=True, slots=True)
class Results:
    """One file that `make bench` wrote."""

    name: str
    when: str
    machine: dict[str, Any]
    busy: float | None
    drills: tuple[dict[str, Any], ...]

    def of(self, row: Row) -> Measured | None:
        """What this file has of the row, if anything."""
        own = [entry for entry in self.drills if entry["drill"] == row.drill]
        figure = next((entry for entry in own if entry.get("figure") == row.figure and entry["samples"]), None)
        if figure is None:
            return None
        samples = tuple(math.inf if sample is None else float(sample) for sample in figure["samples"])
        promises = next((entry for entry in own if entry.get("name") == "promises"), {})
        # A lost write is always one of the reasons for which a run broke its promises.
        lost = promises.get("lost", 0 if promises.get("met") else None)
        return Measured(samples, len(promises.get("broken", ())), lost, self)

    def described(self) -> str:
        """The machine in words."""
        machine = self.machine
        words = (
            machine.get("cpu"),
            f"{machine['cores']} cores" if "cores" in machine else None,
            f"{machine['memory_gb']} GB of memory" if "memory_gb" in machine else None,
            f"Linux {machine['kernel']}" if "kernel" in machine else None,
            None if self.busy is None else f"while other programs took {self.busy:g} cores",
        )
        return ", ".join(str(word) for word in words if word)


def load(folder: Path) -> list[Results]:
    """All files of the folder, the newest first. Raises EvidenceError with the file and what it lacks."""
    found = [_read(file) for file in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda results: results.when, reverse=True)


def _read(file: Path) -> Results:
    try:
        data = json.loads(file.read_text())
        busy = data.get("other_programs_cores")
        return Results(f"bench/results/{file.name}", str(data["when"]), data["machine"], busy, tuple(data["drills"]))
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(
            f"{file}: expected the JSON of `make bench` with `when`, `machine` and `drills`, "
            f"found {type(error).__name__}: {error}. Measure again with this version, or remove the file"
        ) from None


def render(results: Sequence[Results]) -> str:
    """The table and where its figures come from, as Markdown. Pure."""
    measured = [next((found for one in results if (found := one.of(row))), None) for row in ROWS]
    lines = [
        "| failure | the specification promises | seconds | median | worst | runs | acknowledged writes lost |",
        "|---|---|---|---|---|---|---|",
        *(_line(row, found) for row, found in zip(ROWS, measured, strict=True)),
        "",
        *_sources([found for found in measured if found]),
    ]
    return "\n".join(lines)


def _line(row: Row, measured: Measured | None) -> str:
    if measured is None:
        figures = [NOTHING, NOTHING, "0", NOTHING]
    else:
        samples = measured.samples
        lost = "not counted" if measured.lost is None else str(measured.lost)
        runs = f"{len(samples)}, {measured.broken} promises broken" if measured.broken else str(len(samples))
        figures = [_seconds(statistics.median(samples)), _seconds(max(samples)), runs, lost]
    return f"| {' | '.join((row.failure, row.promise, row.seconds, *figures))} |"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "no end"


def _sources(measured: Sequence[Measured]) -> Iterator[str]:
    files = list(dict.fromkeys(one.source.name for one in measured))
    if not files:
        yield "No results are committed yet: `make bench` measures them."
    for file in files:
        source = next(one.source for one in measured if one.source.name == file)
        yield f"Measured on {source.when[:10]} on {source.described()} ([{file}]({file}))."


def replaced(text: str, table: str) -> str:
    """README's text with that table between the markers. Raises EvidenceError if they are not there, once each."""
    before, found, rest = text.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not (found and also_found) or BEGIN in rest or END in after:
        raise EvidenceError(
            f"expected in README.md, once each: {BEGIN} and then {END}. Put them where the table belongs"
        )
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    """Exit 1 if nothing could be written."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        README.write_text(replaced(README.read_text(), render(load(RESULTS))))
    except EvidenceError as error:
        print(error, file=sys.stderr)
        return 1
    print("README.md has the figures of bench/results/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
