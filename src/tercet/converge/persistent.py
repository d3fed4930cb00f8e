"""Persistent agents: Python is started on each node only once, not for every call.

This is a fleet around another fleet. What `converge.node` sends, a Python program on standard input, goes to an
interpreter that waits for it on the node. Everything else goes through the other fleet. With a persistent agent, a poll
takes a seventh of the CPU (bench/agent.py), and a slow connection needs no new session.

Invariants
- Each call has an interpreter to itself. If both interpreters of a node are busy, the call goes through the other
  fleet: over SSH, each interpreter holds one of the ten sessions of a server's connection, which three nodes share.
- An interpreter that did not answer in time, or whose caller was cancelled, is ended and never used again.
- No interpreter outlives the context: its input is closed, and it is killed if it still runs after END_S.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType

from tercet.converge.fleet import Completed, Fleet, Unreachable
from tercet.converge.node import ARGV

END_S = 2.0
MOST = 2  # per node

# Reads programs, each after a line with its length, and answers with a line "STATUS LENGTH LENGTH", then the
# program's standard output and standard error. Its definitions are kept: the agent's modules are loaded once.
LOOP = """
import io, sys
source, answer = sys.stdin.buffer, sys.stdout.buffer
while head := source.readline():
    program = source.read(int(head))
    sys.stdout, sys.stderr, status = io.StringIO(), io.StringIO(), 0
    try:
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    except BaseException:
        import traceback
        traceback.print_exc()
        status = 1
    texts = [stream.getvalue().encode() for stream in (sys.stdout, sys.stderr)]
    answer.write(b"%d %d %d\\n%b%b" % (status, *map(len, texts), *texts))
    answer.flush()
"""
RESIDENT = ("python3", "-I", "-S", "-u", "-c", LOOP)


class PersistentAgents:
    """`async with PersistentAgents(fleet) as fleet:`; see Fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._idle: defaultdict[str, list[asyncio.subprocess.Process]] = defaultdict(list)
        self._number: defaultdict[str, int] = defaultdict(int)  # the idle and busy interpreters of each node

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """See Fleet."""
        if tuple(argv) != ARGV or (not self._idle[node] and self._number[node] >= MOST):
            return await self._fleet.run(node, argv, stdin=stdin, timeout=timeout)
        try:
            async with asyncio.timeout(timeout):
                while self._idle[node]:
                    with contextlib.suppress(EOFError, ConnectionError):  # it ended with its node, or was killed
                        return await self._ask(node, self._idle[node].pop(), stdin)
                return await self._ask(node, await self._start(node), stdin)
        except TimeoutError:
            raise Unreachable(f"{node}: `{' '.join(ARGV)}` did not end within {timeout:g} s and was killed") from None
        except (EOFError, ConnectionError, OSError) as error:
            raise Unreachable(f"{node}: cannot run a program there: {error or 'it ended without an answer'}") from None

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """See Fleet."""
        return await self._fleet.spawn(node, argv)

    async def _start(self, node: str) -> asyncio.subprocess.Process:
        self._number[node] += 1
        try:
            return await self._fleet.spawn(node, RESIDENT)
        except BaseException:
            self._number[node] -= 1
            raise

    async def _ask(self, node: str, resident: asyncio.subprocess.Process, program: bytes) -> Completed:
        try:
            if resident.stdin is None or resident.stdout is None:
                raise OSError("it was started without pipes")
            resident.stdin.write(b"%d\n%b" % (len(program), program))
            await resident.stdin.drain()
            head = await resident.stdout.readline()
            if not head.endswith(b"\n"):
                raise EOFError
            status, *lengths = map(int, head.split())
            texts = [await _exactly(resident.stdout, length) for length in lengths]
        except BaseException:
            self._number[node] -= 1
            await _end(resident, at_once=True)
            raise
        self._idle[node].append(resident)
        return Completed(status, *texts)

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        idle = [resident for of_node in self._idle.values() for resident in of_node]
        self._idle.clear()
        await asyncio.gather(*(_end(resident) for resident in idle))


async def _exactly(stream: asyncio.StreamReader, length: int) -> bytes:
    """Read `length` bytes. It does not use `readexactly`, because a stream over SSH has only `read` and `readline`."""
    pieces: list[bytes] = []
    while length:
        pieces.append(await stream.read(length))
        if not pieces[-1]:
            raise EOFError
        length -= len(pieces[-1])
    return b"".join(pieces)


async def _end(resident: asyncio.subprocess.Process, *, at_once: bool = False) -> None:
    """Close its input and wait until it ends. Kill it if it does not end, or at once with `at_once`."""
    if resident.stdin is not None:
        resident.stdin.close()
    try:
        async with asyncio.timeout(0 if at_once else END_S):
            await resident.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            resident.kill()
        await resident.wait()
