"""A real PostgreSQL on loopback, and a fleet whose nodes are processes of this machine."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tercet.converge.fleet import Completed

# A shared, busy machine says nothing about a test that takes longer than usual.
unhurried = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Server:
    directory: Path
    port: int
    binaries: Path

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} dbname=postgres user=tercet application_name=drill"

    def sql(self, statement: str) -> list[list[str]]:
        done = subprocess.run(
            ["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", statement, self.conninfo],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return [line.split("\t") for line in done.stdout.splitlines()]

    def postmaster(self) -> int:
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server installed (Debian: apt-get install postgresql)")
    if shutil.which("psql") is None:
        pytest.skip("no psql installed")
    binaries = found[-1].parent
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="tercet-postgresql-", ignore_cleanup_errors=True) as directory:
        yield from serve(Path(directory), binaries)


def serve(directory: Path, binaries: Path) -> Iterator[Server]:
    """A server in `directory` until the generator is closed."""
    user: dict[str, object] = {}
    if os.getuid() == 0:
        account = pwd.getpwnam("nobody")  # PostgreSQL refuses to run as root
        os.chown(directory, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}

    def run(*argv: str, check: bool = True) -> bool:
        done = subprocess.run(argv, check=check, capture_output=True, timeout=100, cwd=directory, **user)  # type: ignore[call-overload]
        return bool(done.returncode == 0)

    data = str(directory / "data")
    run(str(binaries / "initdb"), "-D", data, "-U", "tercet", "-A", "trust", "-E", "UTF8", "--no-sync")
    control = (str(binaries / "pg_ctl"), "-D", data, "-w", "-t", "90")

    def start(port: int) -> bool:
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        return run(*control, "-l", str(directory / "log"), "-o", options, "start", check=False)

    # Between the look for a free port and the start somebody else may have taken it.
    port = next((port for port in (free_port() for _ in range(3)) if start(port)), None)
    assert port is not None, (directory / "log").read_text()
    try:
        yield Server(directory, port, binaries)
    finally:
        run(*control, "-m", "immediate", "stop", check=False)  # nobody needs its data


class LocalFleet:
    """Every node is this machine. `python3` is the interpreter of the tests, which has psycopg."""

    def __init__(self) -> None:
        self.processes: list[asyncio.subprocess.Process] = []

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        raise NotImplementedError

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        program = sys.executable if argv[0] == "python3" else argv[0]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(program, *argv[1:], stdin=pipe, stdout=pipe, stderr=pipe)
        self.processes.append(process)
        return process


@pytest.fixture
async def fleet() -> AsyncIterator[LocalFleet]:
    fleet = LocalFleet()
    yield fleet
    for process in fleet.processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(condition: object, seconds: float = 60.0) -> None:
    """Wait until a callable is true; fails the test at the deadline."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            pytest.fail(f"not true within {seconds} s")
        await asyncio.sleep(0.02)
