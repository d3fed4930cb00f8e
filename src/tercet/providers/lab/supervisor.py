"""Runs programs on the lab's nodes, and ends them on request or when their caller is gone. A separate program.

Invariant: a program on a node never outlives the process that requested it. The supervisor has its own session. When
that process dies, in whatever way, its end of the pipe or socket closes, and the supervisor kills the program's whole
control group. If the supervisor itself is killed, the kernel kills the program (PR_SET_PDEATHSIG).

    python3 -I -S supervisor.py serve              many programs, requested on the socket that is standard input
    python3 -I -S supervisor.py once INIT GROUP ARGV…    one program, on this process's own standard streams

A request on the socket is one packet of fields separated by NUL: `run` ID INIT GROUP ARGV…, with the three standard
streams as file descriptors; or `kill` ID. The answer is `ended` ID STATUS or `failed` ID REASON. INIT is the process ID
of the container's PID 1. GROUP is a control group to make for the program. STATUS is the exit code, or 128 plus the
signal's number.

A supervisor that was started under the lab's lock shares the lock's open file (host/lock.py) and is the last process to
release it. Programs on nodes do not inherit the file, because daemons that they leave running would keep it forever.
"""

# Between fork and exec only `os` is used, because it is made for that.
# ruff: noqa: PTH103, PTH106, PTH116, PTH121, PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
import warnings  # noqa: F401 - os.execvpe wants it, where nothing of this Python can be imported any more
from typing import NoReturn

NEW_USER = 0x10000000
NAMESPACES = NEW_USER | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x40000000  # mount, cgroup, uts, ipc, net
NEW_PID = 0x20000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
# Capabilities that the container does not have either (lxc.cap.drop): mac_admin, mac_override, sys_module, …
DROPPED = (33, 32, 16, 17, 25)
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
STREAMS, SIZE_OF_INT = 3, 4
GRACE = 2.0  # seconds that a program has to end by itself after its input was closed

libc = ctypes.CDLL(None, use_errno=True)


class Job:
    """A running program. `report` is a pipe that contains the reason if the program could not be started."""

    def __init__(self, pid: int, group: str, report: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.group = group
        self.report = report


def check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def start(init: int, group: str, argv: list[str], streams: tuple[int, int, int]) -> Job:
    """Start `argv` in the namespaces of the process `init`. Raises OSError if that process has ended."""
    node = os.pidfd_open(init)
    report, reason = os.pipe2(os.O_CLOEXEC)
    try:
        if os.path.samefile(f"/proc/{init}/ns/user", "/proc/self/ns/user"):
            raise OSError("an earlier version of tercet made this container; `tercet plan` says what to do")
        root = os.stat(f"/proc/{init}")
        for stream in streams:  # otherwise the program could not open /dev/stdout
            os.fchown(stream, root.st_uid, root.st_gid)
        os.makedirs(group, exist_ok=True)
        check(libc.setns(node, NEW_PID), "enter the node's process namespace")  # affects only children
        try:
            pid = os.fork()
            if pid == 0:
                os.close(report)
                become(node, group, argv, streams, reason)
        finally:
            own = os.pidfd_open(os.getpid())
            check(libc.setns(own, NEW_PID), "return to the process namespace")
            os.close(own)
    except OSError:
        os.close(report)
        raise
    finally:
        os.close(node)
        os.close(reason)
    return Job(pid, group, report)


def become(node: int, group: str, argv: list[str], streams: tuple[int, int, int], reason: int) -> NoReturn:
    """In the child: execute the program as the node's root, who is nobody outside. Never returns. Writes an error to
    `reason`, which the supervisor reads.
    """
    try:
        with open(f"{group}/cgroup.procs", "w") as procs:
            procs.write("0")
        check(libc.setns(node, NAMESPACES), "enter the node's namespaces")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        # Only now, because the kernel forgets it when the user changes.
        check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "tie to the supervisor")
        if alone(reason):
            os._exit(125)
        for capability in DROPPED:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setsid()
        for target, stream in enumerate([os.dup2(stream, 10 + place, False) for place, stream in enumerate(streams)]):
            os.dup2(stream, target)
        os.umask(0o022)
        os.chdir("/")
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    except OSError as error:
        os.write(reason, str(error).encode())
        os._exit(125)
    try:
        os.execvpe(argv[0], argv, ENVIRONMENT)  # noqa: S606
    except OSError as error:  # 127 and 126, as in a shell
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def alone(pipe: int) -> bool:
    """Whether no process reads the pipe any more."""
    poll = select.poll()
    poll.register(pipe, 0)  # POLLERR only
    return bool(poll.poll(0))


def finish(job: Job) -> tuple[int, str]:
    """Reap the program. Returns its status, and the reason if it was never started. Its daemons keep running."""
    status = os.waitstatus_to_exitcode(os.waitpid(job.pid, 0)[1])
    reason = os.read(job.report, 4096).decode() if select.select([job.report], [], [], 0)[0] else ""
    os.close(job.report)
    os.close(job.pidfd)
    with contextlib.suppress(OSError):  # it contains a daemon, or the node has stopped
        os.rmdir(job.group)
    return (status if status >= 0 else 128 - status), reason


def kill(job: Job) -> None:
    """Kill the program and everything that it started, at once."""
    signal.pidfd_send_signal(job.pidfd, signal.SIGKILL)  # the program may not be in its group yet
    with contextlib.suppress(OSError), open(f"{job.group}/cgroup.kill", "w") as file:
        file.write("1")  # OSError: the node has stopped, and so has the program


def serve(asker: socket.socket) -> None:
    """Serve requests until the client closes the socket or dies. Then kill all programs."""
    jobs: dict[str, Job] = {}
    poll = select.poll()
    poll.register(asker, select.POLLIN)
    names: dict[int, str] = {}
    while True:
        for ready, _ in poll.poll():
            if ready != asker.fileno():
                name = names.pop(ready)
                poll.unregister(ready)
                status, reason = finish(jobs.pop(name))
                tell(asker, f"failed\0{name}\0{reason}" if reason else f"ended\0{name}\0{status}")
                continue
            packet, streams = receive(asker)
            if not packet:
                for job in jobs.values():
                    kill(job)
                for job in jobs.values():
                    finish(job)
                return
            verb, name, *fields = packet.decode().split("\0")
            if verb == "kill":
                if name in jobs:
                    kill(jobs[name])
                continue
            try:
                job = start(int(fields[0]), fields[1], fields[2:], (streams[0], streams[1], streams[2]))
            except OSError as error:
                tell(asker, f"failed\0{name}\0{error}")
            else:
                jobs[name], names[job.pidfd] = job, name
                poll.register(job.pidfd, select.POLLIN)
            finally:
                for stream in streams:
                    os.close(stream)


def receive(asker: socket.socket) -> tuple[bytes, list[int]]:
    """A packet and the file descriptors that came with it; both are empty if the client has ended."""
    packet, extra, _, _ = asker.recvmsg(1 << 20, socket.CMSG_SPACE(STREAMS * SIZE_OF_INT))
    streams: list[int] = []
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            streams += memoryview(data[: len(data) - len(data) % SIZE_OF_INT]).cast("i")
    return packet, streams


def tell(asker: socket.socket, answer: str) -> None:
    with contextlib.suppress(OSError):  # the client has ended; the next poll reports it
        asker.send(answer.encode())


def once(init: int, group: str, argv: list[str]) -> NoReturn:
    """Run one program with two processes. This one only waits and may be killed; the other one supervises the program
    and notices if this one was killed.
    """
    result, answer = os.pipe()
    if os.fork():
        os.close(answer)
        for stream in (0, 1, 2):
            os.close(stream)
        words = os.read(result, 16)
        sys.exit(int(words) if words else 1)
    os.close(result)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job = start(init, group, argv, (0, 1, 2))
    except OSError as error:
        os.write(2, f"{error}\n".encode())
        os._exit(125)
    watch(job, answer)
    status, reason = finish(job)
    if reason:
        os.write(2, f"{reason}\n".encode())
    with contextlib.suppress(BrokenPipeError):
        os.write(answer, str(status).encode())
    os._exit(0)


def watch(job: Job, answer: int) -> None:
    """Wait until the program has ended: by itself, or because its input was closed or the waiting process died."""
    poll = select.poll()
    poll.register(job.pidfd, select.POLLIN)
    poll.register(0, 0)  # POLLHUP only: no process can write to it any more
    poll.register(answer, 0)  # POLLERR only: no process reads it any more
    deadline = 0.0
    while True:
        left = max(0.0, deadline - time.monotonic()) * 1000 if deadline else None
        ready = [stream for stream, _ in poll.poll(left)]
        if job.pidfd in ready:
            return
        if answer in ready or not ready:
            kill(job)
            select.select([job.pidfd], [], [])
            return
        poll.unregister(0)
        deadline = time.monotonic() + GRACE


def keep_files() -> None:
    """Prevent programs from inheriting open files other than the standard streams."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= STREAMS:
            with contextlib.suppress(OSError):  # the descriptor of the folder itself, which is closed by now
                os.set_inheritable(int(name), False)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_files()
    match sys.argv[1:]:
        case ["serve"]:
            serve(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, 0))
        case ["once", init, group, *argv]:
            once(int(init), group, argv)
        case other:
            sys.exit(f"supervisor: unknown arguments {other}")


if __name__ == "__main__":
    main()
