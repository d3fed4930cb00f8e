"""The lab tests drive the real command line against a real platform, as an operator would."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tercet.converge.fleet import Completed
from tercet.inventory.default import default_text
from tercet.inventory.secrets import Secrets, load
from tercet.providers.base import Faults
from tercet.providers.lab.cgroup import Cgroups
from tercet.providers.lab.containers import LOCKS
from tercet.providers.lab.layout import LABS
from tercet.session.session import open_session

# The first `up` on a machine builds the image and every component; afterwards it takes well under a minute. Deadlines
# are for a machine that is five times slower and busy: what is too late hangs.
FIRST_UP_S = 3600.0
UP_S = 900.0
REQUIRED = "TERCET_REQUIRE_LAB"
SHARED = "t-shared"
RUN_LOCK = Path("/run/tercet-lab-tests.lock")
# The default budgets are for machines of the platform's own; `make bench` judges by them. Here the nine nodes, the load
# and what measures them share two cores whose speed halves at times. Seen at half speed: 24 s until all was healthy (12
# by default), most of it in pg_rewind, while a member that nobody brings back takes a minute; 4.9 s without writes
# after the healing (3), and 5.6 s without reads (5).
BUDGETS = """
budgets:
  healthy: 45s
  healing: 10s
  reads: 10s
"""


def why_no_lab() -> str | None:
    if os.geteuid() != 0:
        return "the lab needs root"
    missing = [name for name in ("lxc-start", "mmdebstrap", "nft", "ip") if shutil.which(name) is None]
    return f"the lab needs {', '.join(missing)}: run scripts/host-packages" if missing else None


def lab_is_required() -> bool:
    """Here a lab's test that cannot run is a failure: the continuous integration says so."""
    return os.environ.get(REQUIRED) == "1"


def absent(reason: str) -> NoReturn:
    """What the test needs is not there: skipped, or failed where the lab is required."""
    if lab_is_required():
        pytest.fail(f"{REQUIRED}=1, but {reason}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The shared platform takes more than half a core while it is idle: tests that need it come last, and after all
    # others those that lose its quorum or its data.
    items.sort(key=lambda item: [name in getattr(item, "fixturenames", ()) for name in ("platform_lab", "harmed_lab")])
    reason = why_no_lab()
    if reason is None:
        return
    labs = [item for item in items if item.get_closest_marker("lab")]
    if labs and lab_is_required():
        raise pytest.UsageError(f"{REQUIRED}=1 asks for the lab's tests, but {reason}")
    for item in labs:
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _only_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """Two runs at once would use labs of the same names, and destroy each other's."""
    if why_no_lab() or not any(item.get_closest_marker("lab") for item in request.session.items):
        yield
        return
    with RUN_LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit("another run of the lab tests works on this machine: wait for its end", returncode=2)
        yield


class Run:
    """One command with --json while it works: its events as they come, and in the end all that it said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._said: list[str] = []

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The next event that is wanted; None if the command ended before it came."""
        assert self.process.stderr
        for line in self.process.stderr:
            self._said.append(line)
            if line.startswith("{") and wanted(event := json.loads(line)):
                return dict(event)
        return None

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit status, and all of its standard error."""
        self.until(lambda _event: False)
        return self.process.wait(timeout=180), "".join(self._said)


def is_change(event: dict[str, Any]) -> bool:
    """The event tells of a change that was made. What a gate waits for is a progress too, but of no node."""
    return event["state"] == "progress" and bool(event["node"])


@dataclass(frozen=True)
class Lab:
    """One inventory file and the command line for it."""

    file: Path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tercet.cli.main", "-f", str(self.file), *words]

    def with_faults(self, work: Callable[[Faults], Awaitable[None]]) -> None:
        """Make or end faults of this lab, as a drill would."""

        async def opened() -> None:
            async with open_session(self.file) as session:
                await work(session.provider.faults)

        asyncio.run(opened())

    def call(
        self, *words: str, timeout: float = UP_S, expect: int | None = 0, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, with `given` on its standard input; fails the test with its output if it does not
        leave with `expect`.
        """
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=timeout, check=False, input=given
        )
        if expect is not None and done.returncode != expect:
            pytest.fail(
                f"tercet {' '.join(words)} left with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one command in a process group of its own; the test ends it."""
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def running(self, *words: str) -> Iterator[Run]:
        """Start one command with --json; what is left of it afterwards is killed."""
        with self.start("--json", *words) as process:
            try:
                yield Run(process)
            finally:
                if process.poll() is None:
                    kill_group(process)

    def json(self, *words: str, expect: int | None = 0) -> Any:
        return json.loads(self.call("--json", *words, expect=expect).stdout)

    def status(self) -> Any:
        """`tercet status --json`, whether or not the platform is healthy: on a machine as busy as this one, a standby
        may be between two connections whenever one looks.
        """
        return self.json("status", expect=None)

    def primary(self) -> str:
        """The primary's node. Waits for it."""
        wait_until("there is a primary", lambda: self.status()["postgres"]["primary"] is not None, 60)
        return str(self.status()["postgres"]["primary"])

    def wait_until_healthy(self, timeout: float = 60.0) -> None:
        self._wait_for("status", timeout)

    def wait_until_proven(self, timeout: float) -> None:
        """Until `tercet verify` finds every promise kept."""
        self._wait_for("verify", timeout)

    def _wait_for(self, word: str, timeout: float) -> None:
        """Run the command until it leaves with 0. At the deadline, fails the test with its last output."""
        deadline = time.monotonic() + timeout
        while (done := self.call(word, expect=None)).returncode != 0:
            if time.monotonic() > deadline:
                pytest.fail(
                    f"tercet {word} left with {done.returncode} for {timeout:g} s:\n{done.stdout}\n{done.stderr}"
                )
            time.sleep(0.5)

    def on(self, node: str, script: str, timeout: float = 120.0) -> str:
        """Run a shell script on a node; its output. In this process, because each start of tercet's command line takes
        half a second. Fails the test with the output if the script fails.
        """

        async def opened() -> Completed:
            async with open_session(self.file) as session:
                return await session.provider.run(node, ("sh", "-c", script), timeout=timeout)

        done = asyncio.run(opened())
        if done.status:
            pytest.fail(f"on {node}: {script}\nleft with {done.status}:\n{done.stdout!r}\n{done.stderr!r}")
        return done.stdout.decode()

    def plan(self) -> dict[str, Any]:
        """`tercet plan --json`, whether or not there is something to do."""
        done = self.call("--json", "plan", expect=None, timeout=180)
        assert done.returncode in (0, 2), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) == found["empty"]
        return found

    def lines(self) -> list[str]:
        """Every change of the plan as "node: verb what: reason"."""
        plan = self.plan()
        lines = [f"{c['verb']} {c['what']}: {c['reason']}" for c in plan["infrastructure"] + plan["restarts"]]
        for step in plan["steps"]:
            lines += [f"{step['node']}: {c['verb']} {c['what']}: {c['reason']}" for c in step["changes"]]
        return lines

    def edit(self, change: Callable[[str], str]) -> None:
        self.file.write_text(change(self.file.read_text(encoding="utf-8")), encoding="utf-8")


def make_lab(folder: Path, name: str) -> Lab:
    """The default inventory under another platform name."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tercet.yml"
    text, count = re.subn(r"^platform: tercet\b", f"platform: {name}", default_text(), flags=re.MULTILINE)
    assert count == 1
    file.write_text(text + BUDGETS, encoding="utf-8")
    return Lab(file)


def kill_group(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Signal the command and all its children on this machine, as `kill -9` of a terminal's job would."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
    process.wait(timeout=180)


CURL = "curl --cacert /etc/consul-tls/ca.pem"  # on each node, for AT_HOME and DCS
AT_HOME = "https://127.0.0.1:8500/v1"  # the datacenter of the site
DCS = "https://127.0.0.1:9500/v1"
NOMAD_CURL = "curl --cacert /etc/nomad-tls/ca.pem"  # on control nodes and apps nodes, for NOMAD
NOMAD = "https://127.0.0.1:4646/v1"


def secrets_of(lab: Lab) -> Secrets:
    """The generated secrets of the platform."""
    found = load(lab.file.with_name("tercet.secrets.yml"))
    assert found
    return found


# Before a call on a control node that only the token for management may make.
NOMAD_TOKEN = 'NOMAD_TOKEN=$(cat /etc/tercet/nomad.token); may="X-Nomad-Token: $NOMAD_TOKEN"'


def wait_until(what: str, check: Callable[[], bool], timeout: float, interval: float = 0.5) -> float:
    """Poll until it holds; how many seconds it took. Fails the test at the deadline."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        if check():
            return time.monotonic() - started
        time.sleep(interval)
    pytest.fail(f"waited {timeout:g} s until {what}")


@pytest.fixture(scope="session")
def traces() -> Callable[[str], dict[str, list[str]]]:
    """What a lab leaves on this machine, by kind; all lists are empty where it never was."""

    def look(name: str) -> dict[str, list[str]]:
        def lines(*argv: str) -> list[str]:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            return [line for line in done.stdout.splitlines() if re.search(rf"(tercet-|/labs/){name}\b", line)]

        folder = LABS / name
        # An operator's, which one who is killed leaves and the next removes, and those of LXC.
        locks = (Path(f"/run/lock/tercet-{name}.lock"), LOCKS.joinpath(*folder.parts[1:]))
        return {
            "processes": lines("ps", "-eo", "pid,args"),
            "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{name}/" in line],
            "namespaces": lines("ip", "netns"),
            "links": lines("ip", "-o", "link"),
            "cgroups": [str(path) for path in Cgroups(name).base.glob(name)],
            "folders": [str(folder)] if folder.exists() else [],
            "loop devices": lines("losetup", "--all"),
            "locks": [str(path) for path in locks if path.exists()],
        }

    return look


@pytest.fixture(scope="session")
def platform_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A platform that is up and proven, shared by the tests that leave it as they found it."""
    lab = make_lab(tmp_path_factory.mktemp("shared"), SHARED)
    lab.call("down", "--yes")
    try:
        lab.call("up", timeout=FIRST_UP_S)
        yield lab
    finally:
        lab.call("down", "--yes", expect=None)


@pytest.fixture(scope="module")
def harmed_lab(platform_lab: Lab) -> Lab:
    """The shared platform for the tests of a module that lose its quorum or its data; its primary is at sib-01."""
    if platform_lab.primary() != "db-sib-01":
        platform_lab.call("switchover", "--to", "sib-01")
        platform_lab.wait_until_healthy(120)
    return platform_lab
