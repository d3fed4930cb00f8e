"""Emulates the WAN on a kernel without netem: delays packets by a fixed time. This is a separate program.

Run as `python3 -I -S wan_emulator.py TABLE SECONDS QUEUE=MICROSECONDS …` inside the lab's network namespace. For each
QUEUE, the table `ip TABLE` has an empty chain `delay_QUEUE`, which receives the packets of the links with this delay.
The program adds the only rule of that chain (target NFQUEUE, which lets packets pass while no program listens) and then
serves the queue for SECONDS, or forever if SECONDS is 0.

Invariant: packets never leave the kernel. The kernel reports a number for each packet, and one answer releases all
packets up to a number once their delay is over. A queue keeps the order of its packets. If the program ends or is
killed, the kernel drops the packets that are held (as many as arrive during one delay, as on a cut line) and lets later
ones pass without a delay.

The message formats are those of linux/netfilter/nfnetlink_queue.h and nf_tables_compat.h. nft(8) could make the rule
only with the kernel's nft_queue, which these kernels lack too.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from math import inf
from time import monotonic, time

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_NO_ENOBUFS, SO_RCVBUFFORCE, SO_TIMESTAMP = 270, 5, 33, 29
REQUEST, ACK, CREATE, APPEND = 0x1, 0x4, 0x400, 0x800
NFTABLES, QUEUE = 10, 3  # subsystems of nfnetlink
BATCH_BEGIN, BATCH_END, NEW_RULE = 0x10, 0x11, NFTABLES << 8 | 6
PACKET, CONFIG, VERDICT_BATCH = QUEUE << 8 | 0, QUEUE << 8 | 2, QUEUE << 8 | 3
NESTED = 0x8000
ACCEPT = 1
KIND, ATTRIBUTE, TIMESTAMP, NUMBER = (struct.Struct(layout) for layout in ("=H", "=HH", "!QQ", "!I"))

HELD_AT_MOST = 200_000  # packets; 15 ms at ten million packets a second, so it is never reached
SOCKET_BUFFER = 16 << 20  # bytes; for the kernel's announcements that are not read yet


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(kind: int, flags: int, family: int, resource: int, payload: bytes = b"") -> bytes:
    """One nfnetlink message, with sequence 0, because answers are read in order."""
    return struct.pack("=IHHIIBBH", 20 + len(payload), kind, flags, 0, 0, family, 0, socket.htons(resource)) + payload


def hook_rule(table: str, queue: int) -> bytes:
    """The batch that appends `NFQUEUE --queue-num QUEUE --queue-bypass` to the chain delay_QUEUE of the table."""
    bypass = 1
    target = (
        attribute(1, b"NFQUEUE\0")
        + attribute(2, struct.pack("!I", 3))  # revision with flags
        + attribute(3, struct.pack("=HHHxx", queue, 1, bypass))  # xt_NFQ_info_v3, padded to 8
    )
    expression = attribute(1, b"target\0") + attribute(2 | NESTED, target)
    rule = (
        attribute(1, table.encode() + b"\0")
        + attribute(2, f"delay_{queue}".encode() + b"\0")
        + attribute(4 | NESTED, attribute(1 | NESTED, expression))
    )
    return (
        message(BATCH_BEGIN, REQUEST, 0, NFTABLES)
        + message(NEW_RULE, REQUEST | CREATE | APPEND | ACK, socket.AF_INET, 0, rule)
        + message(BATCH_END, REQUEST, 0, NFTABLES)
    )


def bind_queue(queue: int) -> tuple[bytes, ...]:
    """The messages that make this socket the queue's listener. It receives only the packets' numbers; large segments
    are not split.
    """
    fail_open, keep_segments = 1, 4
    settings = (
        attribute(3, struct.pack("!I", HELD_AT_MOST))
        + attribute(5, struct.pack("!I", fail_open | keep_segments))
        + attribute(4, struct.pack("!I", fail_open | keep_segments))
    )
    return (
        message(CONFIG, REQUEST | ACK, 0, queue, attribute(1, struct.pack("!BxH", 1, 0))),  # bind
        message(CONFIG, REQUEST | ACK, 0, queue, attribute(2, struct.pack("!IB", 0, 1))),  # copy nothing
        message(CONFIG, REQUEST | ACK, 0, queue, settings),
    )


def ask(link: socket.socket, request: bytes, what: str) -> None:
    """Send, and wait for the kernel's acknowledgement. Exit with the reason if the kernel refuses."""
    link.send(request)
    answer = link.recv(65536)
    error = -struct.unpack_from("=i", answer, 16)[0]
    if error:
        sys.exit(f"wan_emulator: {what}: {os.strerror(error)}")


class Line:
    """One queue, which holds packets for `delay` seconds and releases them in the same order. Times are wall-clock
    times.

    While packets are held, new ones are not read. Each has the time at which the kernel received it, so reading it late
    does no harm, and a wake-up costs more than ten packets. For the same reason, releases are at least `step` seconds
    apart, and each includes the packets that are due within half a step. So the error of a delay is half a step.
    """

    def __init__(self, table: str, queue: int, delay: float) -> None:
        self.delay = delay
        self.step = min(delay / 10, 0.001)
        self.held: deque[tuple[float, int]] = deque()
        self.wake = 0.0
        self.socket = listen(table, queue)
        self.release = message(VERDICT_BATCH, REQUEST, 0, queue, attribute(2, struct.pack("!II", ACCEPT, 0)))[:-4]
        self.buffer = bytearray(4096)

    def turn(self, now: float) -> None:
        """Read the packets that have arrived, release those that are due, and set the next turn's time (`wake`)."""
        self.take(now)
        soon, last = now + self.step / 2, None
        while self.held and self.held[0][0] <= soon:
            last = self.held.popleft()[1]
        if last is not None:
            self.socket.send(self.release + NUMBER.pack(last))
        if self.held:
            self.wake = max(self.held[0][0], now + self.step)

    def take(self, now: float) -> None:
        """Read all announcements. Even if the clock was set back, each packet is due in at most `delay` seconds."""
        buffer, latest = self.buffer, now + self.delay
        try:
            while True:
                size = self.socket.recv_into(buffer)
                if KIND.unpack_from(buffer, 4)[0] != PACKET:
                    continue  # an error about packets whose interface was removed
                due = arrival(buffer, size, now) + self.delay
                self.held.append((due if due < latest else latest, NUMBER.unpack_from(buffer, 24)[0]))
        except BlockingIOError:
            return


def arrival(buffer: bytearray, size: int, now: float) -> float:
    """The time at which the kernel received the packet, from the attribute NFQA_TIMESTAMP; `now` if it is missing."""
    at = 32  # after the headers and the first attribute, which is the packet's number
    while at < size:
        length, kind = ATTRIBUTE.unpack_from(buffer, at)
        if length < ATTRIBUTE.size:
            break  # the kernel never sends this, but the loop would be endless, at real-time priority
        if kind == 4:
            seconds, micros = TIMESTAMP.unpack_from(buffer, at + 4)
            return float(seconds + micros / 1e6)
        at += (length + 3) & ~3
    return now


def listen(table: str, queue: int) -> socket.socket:
    """Open a socket that listens on the queue, and add the queue's rule."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER)
    link.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    link.bind((0, 0))
    for request in bind_queue(queue):
        ask(link, request, f"queue {queue}")
    ask(link, hook_rule(table, queue), f"rule of chain delay_{queue}")
    link.setblocking(False)
    return link


def serve(lines: Sequence[Line], ends: float) -> None:
    """Serve the queues until `ends`, a time of the monotonic clock."""
    while monotonic() < ends:
        idle = [line.socket for line in lines if not line.held]
        pause = min((line.wake for line in lines if line.held), default=None)
        limit = ends - monotonic() if pause is None else pause - time()
        ready, _, _ = select.select(idle, (), (), None if limit == inf else max(0.0, limit))
        now = time()
        for line in lines:
            if line.socket in ready or (line.held and line.wake <= now + line.step / 2):
                line.turn(now)


def main(arguments: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:  # the host does not give this cgroup a real-time share
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    stamps = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # makes the kernel record each packet's arrival time
    stamps.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
    table, seconds, *queues = arguments
    ends = monotonic() + float(seconds) if float(seconds) else inf
    lines = [Line(table, int(queue), int(micros) / 1e6) for queue, micros in (text.split("=") for text in queues)]
    go_to_background()
    gc.disable()
    serve(lines, ends)


def go_to_background() -> None:
    """Detach, so that the caller's wait ends when every queue is served. Closes the standard streams."""
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


if __name__ == "__main__":
    main(sys.argv[1:])
