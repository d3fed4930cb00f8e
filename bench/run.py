"""`make bench`: how fast and how large, measured on a real lab of this machine; printed and saved as JSON.

Image and components are made first if they are not cached, outside the measured time. Every figure is printed
beside its limit; those of drills also beside their prediction. What a run broke besides its budgets (a promise, a lost
write, one failover too many) is printed and counts as a miss. What there is so far is saved after each drill, with the
machine and the cores that other programs took before the lab was up.

    python bench/run.py                                  # everything, some two hours on two cores
    python bench/run.py --only site-killed --runs 20     # one drill
    python bench/run.py --only platform                  # no drill
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import drill_figures
from machine import BUSY, busy_cores, machine

from tercet.inventory.default import default_text

HERE = Path(__file__).parent
NAME = "t-bench"
IDLE_S = 30
PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement beside its goal. `samples` are what `value` is the median of."""

    name: str
    value: float
    unit: str
    goal: float
    samples: tuple[float, ...]

    @property
    def met(self) -> bool:
        return self.value <= self.goal

    def line(self) -> str:
        mark = "met   " if self.met else "MISSED"
        spread = ", ".join(f"{sample:g}" for sample in self.samples)
        return f"{mark} {self.name:<50} {self.value:>8g} {self.unit:<6} limit {self.goal:g}   ({spread})"

    def saved(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def drill(file: Path, name: str, to: Path) -> str:
    """A drill that broke something says so in its JSON; one that could not run has none. Its last words."""
    done = tercet(file, "drill", "run", name, "--json", str(to), "--journals", str(to.parent), expect=(0, 1))
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def tercet(file: Path, *words: str, expect: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tercet.cli.main", "-f", str(file), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=3600, check=False)
    if done.returncode not in expect:
        sys.exit(f"tercet {' '.join(words)} left with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def seconds(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def repeated(name: str, goal: float, action: Callable[[], object], times: int) -> Figure:
    samples = tuple(round(seconds(action), 3) for _ in range(times))
    return Figure(name, statistics.median(samples), "s", goal, samples)


def container_processes() -> list[Path]:
    """/proc entries of every process inside the lab's containers, found by their cgroup's name."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and NAME in (entry / "cgroup").read_text():
                found.append(entry)
        except OSError:
            continue  # it ended meanwhile
    return found


def memory_mb() -> float:
    """Proportional set size of all the nodes' processes: shared pages are counted once."""
    total = 0
    for entry in container_processes():
        try:
            match = re.search(r"^Pss:\s+(\d+) kB", (entry / "smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(match[1]) if match else 0
    return total / 1024


def cpu_seconds() -> float:
    """CPU time used so far by the processes that run now, user and system."""
    ticks = 0
    for entry in container_processes():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def idle_cpu() -> float:
    """Cores used by the whole idle lab over IDLE_S seconds."""
    before = cpu_seconds()
    time.sleep(IDLE_S)  # the measured time itself
    return (cpu_seconds() - before) / IDLE_S


def measure(file: Path) -> list[Figure]:
    tercet(file, "up")  # fills the caches
    downs, ups = [], []
    for _ in range(3):
        downs.append(round(seconds(lambda: tercet(file, "down", "--yes")), 2))
        ups.append(round(seconds(lambda: tercet(file, "up")), 2))
    time.sleep(5)  # let the start's own work end before anything is called idle
    figures = [
        Figure("up, from nothing to verified", statistics.median(ups), "s", 40, tuple(ups)),
        Figure("down", statistics.median(downs), "s", 5, tuple(downs)),
        repeated("plan with nothing to do", 2, lambda: tercet(file, "plan"), 5),
        repeated("status", 1.8, lambda: tercet(file, "status"), 5),
        repeated("tercet --help", 0.2, lambda: tercet(file, "--help"), 7),
    ]
    cpu = round(idle_cpu(), 3)
    memory = round(memory_mb())
    figures.append(Figure("memory of all nodes (PSS)", memory, "MB", 2048, (memory,)))
    figures.append(Figure("idle CPU of all nodes", cpu, "cores", 2.0, (cpu,)))
    return figures


def main() -> int:
    """Exit 1 if a limit was missed."""
    options = arguments()
    only = options.only or [PLATFORM, *drill_figures.drills()]
    described = {"machine": machine(), "when": datetime.now(UTC).isoformat(timespec="seconds")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tercet.yml"
        file.write_text(re.sub(r"^platform: tercet\b", f"platform: {NAME}", default_text(), flags=re.MULTILINE))
        tercet(file, "down", "--yes")
        described["other_programs_cores"] = busy = busy_cores()
        if busy > BUSY:
            print(f"other programs take {busy:g} cores: these figures are worse than the platform", flush=True)
        figures: list[Figure] = []
        measured: list[drill_figures.Measured | drill_figures.Promises] = []

        def keep(found: list[drill_figures.Measured | drill_figures.Promises]) -> None:
            measured[:] = found
            save(options.output, described, figures, measured)

        try:
            if PLATFORM in only:
                figures += measure(file)
                for figure in figures:
                    print(figure.line(), flush=True)
                save(options.output, described, figures, measured)
            else:
                tercet(file, "up")
            drills = [name for name in only if name != PLATFORM]
            drill_figures.measure(lambda name, to: drill(file, name, to), Path(folder), drills, options.runs, keep)
        finally:
            tercet(file, "down", "--yes", expect=(0, 1))
    print(f"saved: {options.output}")
    return 0 if all(figure.met for figure in (*figures, *measured)) else 1


def arguments() -> argparse.Namespace:
    """The command line; `output` is a file of its own for a part, so that it never replaces the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        action="extend",
        nargs="+",
        metavar="PART",
        choices=[PLATFORM, *drill_figures.drills()],
        help=f"{PLATFORM}, or a drill: {', '.join(drill_figures.drills())}",
    )
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help=f"of each drill; default: {drill_figures.RUNS}, or 20 where the limit is that of the worst of 20",
    )
    parser.add_argument("--output", type=Path, help="where the JSON goes; default: result.json or result-PART.json")
    options = parser.parse_args()
    if options.runs is not None and options.runs < 1:
        parser.error(f"expected --runs of 1 or more, found {options.runs}")
    if options.output is None:
        options.output = HERE / ("-".join(["result", *(options.only or ())]) + ".json")
    return options


def save(
    to: Path,
    described: dict[str, Any],
    figures: Sequence[Figure],
    measured: Sequence[drill_figures.Measured | drill_figures.Promises],
) -> None:
    """Whole or not at all."""
    data = {
        **described,
        "figures": [figure.saved() for figure in figures],
        "drills": [one.saved() for one in measured],
    }
    finite = json.loads(json.dumps(data), parse_constant=lambda _: None)  # JSON knows no infinity
    new = to.with_suffix(".new")
    new.write_text(json.dumps(finite, indent=2) + "\n")
    new.replace(to)


if __name__ == "__main__":
    sys.exit(main())
