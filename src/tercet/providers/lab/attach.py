"""Runs programs on nodes: the client of supervisor.py.

One supervisor serves all calls of a provider, so starting a program on a node takes only a fork and an exec: about 3
ms. lxc-attach takes 12 ms. Invariant: `run` returns within its time limit, and its program has ended by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

from tercet.converge.fleet import Completed, Unreachable, brief
from tercet.providers.lab import supervisor
from tercet.providers.lab.cgroup import POLL, RUN, Cgroups
from tercet.providers.lab.layout import Layout

SUPERVISOR = [sys.executable, "-I", "-S", supervisor.__file__]
SO_SNDBUFFORCE = 32
LOCK = 3  # the file descriptor of the lock in a supervisor
KILLED = 128 + signal.SIGKILL
LAST_WORDS = 0.2  # seconds to wait, after a program ended, for output of processes that it left running


class Attachment:
    """Runs programs on the nodes of one lab."""

    def __init__(self, layout: Layout, cgroups: Cgroups) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._line: Line | None = None
        self._lock: int | None = None  # the lab's lock as an open file, while it is held
        self._names = (f"{os.getpid()}-{secrets.token_hex(3)}-{n}" for n in itertools.count(1))

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Completed:
        """See converge/fleet.py."""
        init = self.init(node)
        line = self._connected()
        try:
            async with asyncio.timeout(timeout):
                done = await line.run(next(self._names), init, self._group(node), argv, stdin)
        except TimeoutError:
            raise Unreachable(
                f"{node}: `{brief(' '.join(argv))}` did not end within {timeout:g} s and was killed{self._excuse(node)}"
            ) from None
        except NotStartedError as error:
            raise Unreachable(f"{node}: cannot run a program there: {error}{self._excuse(node)}") from None
        if done.status == KILLED and await self._died(node, init):
            raise Unreachable(f"{node}: the container was stopped while `{brief(' '.join(argv))}` ran there")
        return done

    @contextlib.contextmanager
    def under(self, lock: int) -> Iterator[None]:
        """Programs started in this block also hold the lock (host/lock.py). Those that run at its end are killed."""
        self.close()
        self._lock = lock
        try:
            yield
        finally:
            self._lock = None
            self.close()

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """See converge/fleet.py."""
        init = self.init(node)
        return await asyncio.create_subprocess_exec(
            *SUPERVISOR,
            "once",
            str(init),
            str(self._group(node) / next(self._names)),
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=() if self._lock is None else (self._lock,),
        )

    def init(self, node: str) -> int:
        """The host's process ID of the container's PID 1. Raises Unreachable if the container is not running."""
        self._layout.container(node)
        init = self._cgroups.init(node)
        if init is None:
            raise Unreachable(f"{node}: the container does not run; `tercet up` starts it")
        return init

    async def _died(self, node: str, init: int) -> bool:
        """Whether the container stopped while the program ran. Its PID 1 is the last to end, a moment later."""
        deadline = monotonic() + LAST_WORDS
        while self._cgroups.init(node) == init:
            if monotonic() > deadline:
                return False
            await asyncio.sleep(POLL)
        return True

    def _group(self, node: str) -> Path:
        return self._cgroups.node(node) / RUN

    def _excuse(self, node: str) -> str:
        return " (the container is frozen)" if self._cgroups.frozen(node) else ""

    def _connected(self) -> Line:
        """The connection to the supervisor. Opens a new one if none is open, or if the present one is
        broken or belongs to another event loop.
        """
        if self._line is None or self._line.broken or self._line.loop is not asyncio.get_running_loop():
            self.close()
            self._line = Line(self._lock)
        return self._line

    def close(self) -> None:
        """End the supervisor and all programs that it still runs."""
        if self._line is not None:
            self._line.hang_up()
            self._line = None


class NotStartedError(Exception):
    """The supervisor could not start the program; the message is its reason."""


class Line:
    """A supervisor process and the socket to it. The supervisor inherits the open file `lock`, if given."""

    def __init__(self, lock: int | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.broken = False
        self._ended: dict[str, asyncio.Future[int]] = {}
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            files = {0: other.fileno()} if lock is None else {0: other.fileno(), LOCK: lock}
            os.posix_spawn(
                SUPERVISOR[0],
                [*SUPERVISOR, "serve"],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, file, target) for target, file in files.items()],
                setsid=True,  # Ctrl-C on the terminal is for the tool; the supervisor notices when the tool ends
            )
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)  # a few thousand requests at once
        self.loop.add_reader(self._socket, self._answered)

    async def run(self, name: str, init: int, group: Path, argv: Sequence[str], stdin: bytes) -> Completed:
        """Run the program until it ends. Cancelling this call also ends the program."""
        ended = self._ended[name] = self.loop.create_future()
        outputs: list[asyncio.StreamReader] = []
        ends: list[int] = []
        pipes: list[asyncio.ReadTransport] = []
        try:
            with memory(stdin) as source:
                for _ in range(2):
                    mine, theirs = os.pipe()
                    ends.append(theirs)
                    reader = asyncio.StreamReader(limit=1 << 20)
                    pipes.append(await self._reading(mine, reader))
                    outputs.append(reader)
                request = "\0".join(("run", name, str(init), str(group / name), *argv))
                try:
                    socket.send_fds(self._socket, [request.encode()], [source, *ends])
                except OSError as error:
                    raise NotStartedError(
                        f"the supervisor of tercet's programs on nodes does not listen: {error}"
                    ) from None
            while ends:
                os.close(ends.pop())
            reading = [asyncio.ensure_future(reader.read()) for reader in outputs]
            status = await ended
            await asyncio.wait(reading, timeout=LAST_WORDS)
            for reader in outputs:
                reader.feed_eof()
            stdout, stderr = await asyncio.gather(*reading)
            return Completed(status, stdout, stderr)
        finally:
            if (not ended.done() or ended.cancelled()) and not self.broken:
                with contextlib.suppress(OSError):
                    self._socket.send(f"kill\0{name}".encode())
            self._ended.pop(name, None)
            for end in ends:
                os.close(end)
            for pipe in pipes:
                pipe.close()

    async def _reading(self, end: int, reader: asyncio.StreamReader) -> asyncio.ReadTransport:
        file = os.fdopen(end, "rb", buffering=0)
        transport, _ = await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        return transport

    def _answered(self) -> None:
        """Handle a message from the supervisor (a program ended or could not be started), or the supervisor's end."""
        try:
            packet = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self.hang_up()
            return
        verb, name, rest = packet.decode().split("\0", 2)
        ended = self._ended.get(name)
        if ended is None or ended.done():
            return
        if verb == "ended":
            ended.set_result(int(rest))
        else:
            ended.set_exception(NotStartedError(rest))

    def hang_up(self) -> None:
        """Disconnect from the supervisor, which then kills all programs that still run."""
        self.broken = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self._socket)
        self._socket.close()
        for ended in self._ended.values():
            if not ended.done():
                ended.set_exception(NotStartedError("the supervisor of tercet's programs on nodes was killed"))


@contextlib.contextmanager
def memory(content: bytes) -> Iterator[int]:
    """An unnamed file in memory with `content`, positioned at its start."""
    file = os.memfd_create("stdin")
    try:
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.write(content)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)
