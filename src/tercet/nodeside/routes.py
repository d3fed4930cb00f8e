"""Leads two addresses of an apps node to the current database nodes (`tercet-routes.service`).

This is for a proxy that must restart to change a backend. Its backends are always these two addresses, and the kernel
(nftables, destination NAT) sends each new connection to the current primary or to the *read node*, the node that the
site reads from. When a target changes, the sockets that lead to the old one are aborted, so that the proxy connects
again.

Consul Template writes the file, with lines of "primary ADDRESS" (holds Patroni's leader key and passes a check, or
passes as primary while no node holds the key; the last one counts), "leader ADDRESS" (holds the key), "read ADDRESS"
(in order of preference) and "own ADDRESS" (the site's own database node, in any state). A SIGHUP says that the file
changed. Only this file decides which node is primary. If the leader does not pass its check, its Patroni restarts or
hangs, or its PostgreSQL is gone: it stays the primary while it answers pings and PostgreSQL does not refuse sessions.

This program begins a session at the primary and holds it, as a user who does not exist and for whom PostgreSQL wants no
TLS. PostgreSQL ends this session when it stops or crashes. Only a
refused or reset connection, and the SQLSTATEs of a server that stops, crashed or starts, mean that PostgreSQL is going
down. Any other error comes from a running PostgreSQL, for example if all slots are taken. A session that merely ends
proves nothing, because authentication_timeout looks the same as a shutdown. The next session, begun at once, shows it.

While PostgreSQL is down, the primary's address leads to the read node, until a session can be begun again or there is a
new primary. So applications have sessions, reads continue, and a standby refuses writes with 25006. Tags and key change
only a second or two later, and until then the attempts of applications to connect would fail.

This program also detects silence sooner. Gossip needs seconds to declare a dead node failed. Until then, everything
that waits for the node hangs, including reads, because pgpool waits for all its backends. So each address is pinged
(nodeside/pings.py), and a silent one is not used: reads go to the next node, and the primary's address leads to the
read node, so that a standby refuses writes with 25006 at once.

In the other direction gossip is too quick: when a site returns from a short cut, the others believe for some tenths of
a second that healthy nodes have failed. So the read node stays for STAY_S after the file drops it, as long as it
answers pings and its PostgreSQL begins sessions. The site's own node stays for longer, for Patroni's ttl: its check
also fails when its Patroni hangs, restarts or is too slow to answer within a second, and none of this keeps PostgreSQL
from serving reads and following the primary. After the ttl, nobody knows whether it still follows.

If pgpool cannot connect to the read node when a session begins, it continues with the primary alone, and that session
then reads from the primary forever. This program ends such a session when the read node accepts connections again, so
that the application's next session has both.

pgpool asks for no keepalives on its connections to PostgreSQL, and has no setting for it. If the reset of a connection
that PostgreSQL's side ended is lost, a session would wait for an answer forever. So this program switches the
keepalives of these connections on (nodeside/halfopen.py).

Invariant: the map in the kernel and every connection agree with the record. If this program dies, the last map stays in
force; the next process ends only connections that lead to other nodes.

Addresses come from Consul's catalogue, where anyone on a node can register a service. An address outside the tailnet is
refused.

Argument: a JSON file {"file": …, "record": …, "pid_file": …, "primary": "198.18.0.1", "read": "198.18.0.2",
"port": 5432, "user": …, "tailnet": CIDR, "ttl_s": seconds}.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Collection
from typing import Any

from tercet.nodeside.halfopen import Connection, Probed, connections
from tercet.nodeside.host import ProgramError, notify, run
from tercet.nodeside.pings import TICK_S, Pings
from tercet.nodeside.tailnet import Tailnet

PROBE_S = 0.3
HELD_S = 30.0  # PostgreSQL ends a session without its password after authentication_timeout, a minute, and logs it
AGAIN_S = 1.0  # after an error that is no news of PostgreSQL's end: each attempt costs it a process and a line of log
GOES_DOWN = ("57P01", "57P02", "57P03")  # admin_shutdown, crash_shutdown, cannot_connect_now
STAY_S = 3.0  # a node that was falsely declared failed was back in the catalogue after 0.15 s to 2.4 s
SERVES_S = 0.5  # between two sessions that show whether a dropped read node still serves; each costs it a process
LOOK_S = 2.0  # a session that has one leg at two looks is not just being made
TABLE = "ip tercet_routes"


class ProbeSession:
    """A session at the primary that is begun and held at the point where the password is due.

    It must be begun, because a PostgreSQL that stops or starts still accepts connections, and a connection that sends
    nothing would keep it from stopping. The descriptor is -1 if there is no session.
    """

    def __init__(self, port: int, user: str) -> None:
        self._port = port
        self._greeting = startup(user)
        self.address = ""  # the node where a session is held, or begun again and again
        self._socket: socket.socket | None = None
        self._since = self._next = 0.0
        self._answered = False  # PostgreSQL has sent something in this session
        self.connecting = False
        self.refused = False  # PostgreSQL is down, going down or starting

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket else -1

    def hold(self, address: str, now: float) -> None:
        """Begin a session at `address` if there is none or if the present one is old."""
        if address != self.address:
            self.address, self.refused, self._next = address, False, now
            self._close()
        if self._socket and now - self._since > HELD_S:
            self._close()
        if address and self._socket is None and now >= self._next:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            self._since, self.connecting, self._answered = now, True, False
            error = self._socket.connect_ex((address, self._port))
            if error not in (0, errno.EINPROGRESS):
                self._lost(error, now)

    def heard(self, now: float) -> bool:
        """Handle an event on the session. True if the targets must be checked at once: the primary began or stopped
        refusing sessions, or the session ended without a reason.
        """
        refused = self.refused
        if self._socket and self.connecting:
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.connecting = False
            if error:
                self._lost(error, now)
            else:
                with contextlib.suppress(OSError):  # reading returns the error
                    self._socket.send(self._greeting)
        elif self._socket:
            try:
                answer = self._socket.recv(512)
            except OSError as error:
                self._lost(error.errno or 0, now)
            else:
                self._said(answer, now)
        return self.refused != refused or (self._socket is None and now >= self._next)

    def _said(self, answer: bytes, now: float) -> None:
        if not answer:
            self._next = now if self._answered else now + TICK_S  # the next session shows why this one ended
            self._close()
            return
        self._answered = True
        self.refused = sqlstate(answer) in GOES_DOWN
        if answer.startswith(b"E"):
            self._next = now + (TICK_S if self.refused else AGAIN_S)
            self._close()

    def _lost(self, error: int, now: float) -> None:
        # The pings detect a silent primary.
        self.refused = self.refused or error in (errno.ECONNREFUSED, errno.ECONNRESET)
        self._next = now + TICK_S
        self._close()

    def _close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self.connecting = None, False


class ReadNode:
    """The node that the site reads from, which stays for a moment after the catalogue drops it."""

    def __init__(self, port: int, user: str, ttl_s: float) -> None:
        self.address = ""
        self._port, self._user, self._ttl_s = port, user, ttl_s
        self._listed = self._asked = 0.0
        self._served = False  # when it was asked last

    def stay(self, reads: list[str], own: str, silent: set[str], now: float) -> list[str]:
        """The read addresses in order of preference. The present node is the first if it serves and was dropped from
        `reads` less than STAY_S ago, or less than the ttl if it is the site's `own` node.
        """
        if self.address in reads:
            self._listed = now
            return reads
        longest = self._ttl_s if self.address == own else STAY_S
        if self.address and now - self._listed < longest and self.address not in silent and self._still_serves(now):
            return [self.address, *reads]
        return reads

    def move(self, address: str, now: float) -> None:
        """`address` is the read node from now on."""
        if address != self.address:
            self.address, self._listed, self._asked = address, now, 0.0

    def _still_serves(self, now: float) -> bool:
        if now - self._asked >= SERVES_S:
            self._asked, self._served = now, self._serves()
        return self._served

    def _serves(self) -> bool:
        """Whether PostgreSQL begins a session there, up to the password."""
        try:
            with socket.create_connection((self.address, self._port), PROBE_S) as session:
                session.sendall(startup(self._user))
                return session.recv(512).startswith(b"R")
        except OSError:
            return False


def startup(user: str) -> bytes:
    """The first message of a session, protocol 3.0."""
    words = b"\0".join((b"user", user.encode(), b"database", user.encode(), b"", b""))
    return struct.pack("!ii", len(words) + 8, 196608) + words


def sqlstate(message: bytes) -> str:
    """The SQLSTATE in an error of PostgreSQL's protocol; "" if the message is not an error or has none."""
    if not message.startswith(b"E"):
        return ""
    fields = message[5:].split(b"\0")
    return next((field[1:].decode(errors="replace") for field in fields if field.startswith(b"C")), "")


def parse(text: str, tailnet: Tailnet) -> tuple[str, str, str, list[str]]:
    """(address that passes as primary, holder of the leader key, the site's own node, read addresses in order of
    preference). "" if there is none.
    """
    lines = [(role, address) for line in text.splitlines() for role, _, address in (line.partition(" "),) if address]
    admitted = tailnet.admitted(address for _, address in lines)
    found: dict[str, list[str]] = {"primary": [], "leader": [], "own": [], "read": []}
    for role, address in lines:
        if role in found and address in admitted:
            found[role].append(address)
    primary, leader, own = (found[role][-1] if found[role] else "" for role in ("primary", "leader", "own"))
    return primary, leader, own, list(dict.fromkeys(found["read"]))


def is_open(address: str, port: int) -> bool:
    """Whether a program listens there and accepts within PROBE_S."""
    try:
        socket.create_connection((address, port), PROBE_S).close()
    except OSError:
        return False
    return True


def one_legged(found: Collection[Connection], primary: str, read: str) -> set[str]:
    """Local ports of the connections to `primary` whose process has none to `read`."""
    ports = {each.process: each.port for each in found if each.peer == primary}
    whole = {each.process for each in found if each.peer == read}
    return {port for process, port in ports.items() if process not in whole}


def choose(primary: str, reads: list[str], away: set[str]) -> tuple[str, str]:
    """The targets of writes and of reads; "" means none. A node that is silent or refuses is read only if all are."""
    read = next((address for address in reads if address not in away), reads[0] if reads else "")
    return (primary if primary and primary not in away else read), read


class Kernel:
    """The map in force."""

    def __init__(self, primary: str, read: str, record: str) -> None:
        self._addresses = (primary, read)
        self._record = record
        self._targets: tuple[str, ...] | None = None

    def lead(self, *targets: str) -> None:
        """Make the addresses lead to the targets, and abort sockets that lead to other nodes. Log the changes. Raises
        ProgramError.
        """
        if targets == self._targets:
            return
        pairs = [f"{address} : {target}" for address, target in zip(self._addresses, targets, strict=True) if target]
        ours = ", ".join(self._addresses)
        fill = f"add element {TABLE} target {{ {', '.join(pairs)} }}" if pairs else ""
        script = f"""
            add table {TABLE}
            add map {TABLE} target {{ type ipv4_addr : ipv4_addr; }}
            add chain {TABLE} output {{ type nat hook output priority -100; }}
            add chain {TABLE} leave {{ type nat hook postrouting priority 100; }}
            flush table {TABLE}
            flush map {TABLE} target
            {fill}
            add rule {TABLE} output dnat to ip daddr map @target
            add rule {TABLE} leave ip saddr {{ {ours} }} masquerade
        """
        before = self._recorded()
        self._targets = None  # unknown if this is interrupted
        for address in self._addresses:
            run(["ip", "address", "replace", f"{address}/32", "dev", "lo"])
        run(["nft", "-f", "-"], script)
        led = dict(zip(self._addresses, targets, strict=True))
        moved = [address for address, target in led.items() if before is None or before.get(address, "") != target]
        for address in moved:
            run(["ss", "--kill", "--tcp", "--numeric", "dst", address])
        # Last, because if this is interrupted, the next process finds the old record and does everything again.
        write(self._record, "".join(f"{pair}\n" for pair in pairs))
        for address in moved:
            print(f"{address} : {led[address] or 'nowhere'}", flush=True)
        self._targets = targets

    def _recorded(self) -> dict[str, str] | None:
        """The target of each address in the record, which may be from an earlier process; None if there is no
        record.
        """
        try:
            with open(self._record) as file:
                pairs = (line.rstrip("\n").partition(" : ") for line in file)
                return {address: target for address, _, target in pairs}
        except OSError:
            return None


class Legs:
    """Ends sessions that were begun with the primary alone."""

    def __init__(self, primary: str, read: str, port: int) -> None:
        self._primary, self._read, self._port = primary, read, port
        self._seen = set[str]()

    def look(self, connections: Collection[Connection]) -> None:
        """Raises ProgramError."""
        found = one_legged(connections, self._primary, self._read)
        stuck, self._seen = found & self._seen, found
        if stuck and is_open(self._read, self._port):
            for port in sorted(stuck):
                run(["ss", "--kill", "--tcp", "--numeric", "src", f"{self._primary}:{port}"])
            print(f"ended {len(stuck)} sessions that read from the primary alone", flush=True)


class Backends:
    """Looks at the proxy's connections to the two addresses every LOOK_S."""

    def __init__(self, primary: str, read: str, port: int) -> None:
        self._which = ["dst", primary, "or", "dst", read]
        self._legs, self._probed = Legs(primary, read, port), Probed()
        self._looked = 0.0

    def poll(self, now: float) -> None:
        """Raises ProgramError."""
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        found = connections(run(["ss", "-tnpH", "state", "established", *self._which]))
        self._legs.look(found)
        self._probed.look(found)


def write(path: str, text: str) -> None:
    """Replace the whole file at once."""
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def read_file(path: str) -> str:
    """The text that Consul Template wrote last; "" before the first time."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def wait(woken: socket.socket, pings: Pings, probe: ProbeSession, seconds: float) -> None:
    """Read answers until the time is over, a signal announces a new file, or the probe session has news."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        held = [probe.fileno()] if probe.fileno() >= 0 else []
        reading, writing = ([], held) if probe.connecting else (held, [])
        heard, made, _ = select.select([woken.fileno(), pings.fileno(), *reading], writing, [], left)
        if pings.fileno() in heard:
            pings.receive()
        if (made or set(reading) & set(heard)) and probe.heard(time.monotonic()):
            return
        if woken.fileno() in heard:
            woken.recv(4096)
            return


class Daemon:
    """The state between two polls."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._file, self._port = config["file"], config["port"]
        self._tailnet = Tailnet(config["tailnet"])
        self._kernel = Kernel(config["primary"], config["read"], config["record"])
        self._backends = Backends(config["primary"], config["read"], config["port"])
        self._silent = set[str]()
        self.pings = Pings()
        self.probe = ProbeSession(config["port"], config["user"])
        self._read_node = ReadNode(config["port"], config["user"], config["ttl_s"])

    def poll(self) -> bool:
        """Returns True if the addresses have targets. Raises ProgramError."""
        primary, leader, own, reads = parse(read_file(self._file), self._tailnet)
        pinged = {primary, leader, *reads, self._read_node.address} - {""}
        self.pings.send(pinged, time.monotonic())
        silent = self.pings.silent()
        for address in sorted(silent ^ self._silent):
            print(f"{address} {'is silent' if address in silent else 'answers'}", flush=True)
        self._silent = silent
        if not primary and leader and leader not in silent:
            # Of a node that is the primary already, the probe session tells more than a new connection, which may only
            # take too long.
            primary = leader if leader == self.probe.address or is_open(leader, self._port) else ""
        self.probe.hold(primary, time.monotonic())
        if not primary and not reads:
            return False
        reads = self._read_node.stay(reads, own, silent, time.monotonic())
        writes_to, reads_from = choose(primary, reads, silent | ({primary} if self.probe.refused else set()))
        self._kernel.lead(writes_to, reads_from)
        self._read_node.move(reads_from, time.monotonic())
        self._backends.poll(time.monotonic())
        return True


def main(config: dict[str, Any]) -> None:
    woken, bell = socket.socketpair()
    bell.setblocking(False)
    signal.set_wakeup_fd(bell.fileno())
    signal.signal(signal.SIGHUP, lambda *_: None)
    write(config["pid_file"], f"{os.getpid()}\n")
    daemon = Daemon(config)
    ready, problem = False, ""
    while True:
        try:
            leads, found = daemon.poll(), ""
        except ProgramError as error:
            leads, found = False, str(error)
        if found != problem:
            problem = found
            print(problem or "the kernel takes changes again", flush=True)
            notify(f"STATUS={problem}")
        ready = ready or leads
        notify("READY=1\nWATCHDOG=1" if ready else "WATCHDOG=1")  # when it is ready, the proxy may start
        wait(woken, daemon.pings, daemon.probe, TICK_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
