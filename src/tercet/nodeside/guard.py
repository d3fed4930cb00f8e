"""The dead-peer guard: turns a peer's silence into errors, so that nothing waits for a machine that is gone.

Runs on every node (`tercet-guard.service`), standard library alone. Configuration: one JSON object as the only
argument's file: {"members_port": …, "probe_port": …, "exempt_ports": […]}.

Over a tunnel, as after a power cut, a dead peer sends no RST and no ICMP; packets vanish. Patroni, Raft, pools
and streams would each wait out a time limit of their own. So:

- every 0.2 s the local `dcs` agent is asked for its members (an answer from memory, no network);
- a member that gossip calls failed *and* that does not answer a TCP connect to its gossip port within 0.2 s is
  silent: its address goes into an nftables set, whose elements expire after 2 s by themselves, and an output
  rule answers TCP to that set with a reset; open sockets to it are aborted once (`ss -K`);
- a refused connect is an answer: the machine lives, and its kernel refuses by itself.

The probe is essential. When a cut heals, the cut-off side's stale gossip accuses healthy members for a moment;
without an own look the guard cut the healthy primary off and a second failover followed (seen: 24 s).
Gossip's and the probe's own ports are exempt from the rule, as destination and as source, else nobody would ever be
seen alive again: after a cut, each side's guard would refuse its own kernel's answer to the other side's probe (seen:
a healed site stayed alone for ever).
If the guard dies, its set is empty two seconds later.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from typing import Any

POLL_S = 0.2
PROBE_S = 0.2
EXPIRY_S = 2
RENEW_S = 0.8  # well within EXPIRY_S, and not a new nft process every POLL_S
FAILED = 4  # serf's member status
TABLE = "inet tercet_guard"


class Members:
    """Asks the agent for its members over one kept connection; parses only an answer that changed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._request = f"GET /v1/agent/members HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self._socket: socket.socket | None = None
        self._body = b""
        self._members: list[dict[str, Any]] = []

    def failed(self) -> dict[str, str]:
        """Address → name of the members that gossip calls failed; nothing while the agent does not answer."""
        try:
            body = self._ask()
        except (OSError, ValueError):
            self._close()
            return {}
        if body != self._body:
            self._body, self._members = body, json.loads(body)
        return {m["Addr"]: m["Name"] for m in self._members if m["Status"] == FAILED}

    def _ask(self) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=1)
        self._socket.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        headers = head.lower()
        if b"transfer-encoding: chunked" in headers:
            while not body.endswith(b"0\r\n\r\n"):
                body += self._receive()
            return _unchunk(body)
        length = int(headers.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()
        return body

    def _receive(self) -> bytes:
        if self._socket is None:
            raise OSError("closed")
        data = self._socket.recv(65536)
        if not data:
            raise OSError("the agent closed the connection")
        return data

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _unchunk(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        parts.append(rest[:length])
        body = rest[length + 2 :]


def silent_among(addresses: list[str], port: int) -> set[str]:
    """Those that neither accept nor refuse a TCP connection within PROBE_S; all are asked at once."""
    waiting: dict[int, tuple[socket.socket, str]] = {}
    poller = select.poll()
    for address in addresses:
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        result = probe.connect_ex((address, port))
        if result in (0, 111):  # connected, or refused at once
            probe.close()
            continue
        waiting[probe.fileno()] = (probe, address)
        poller.register(probe, select.POLLOUT)
    silent = {address for _, address in waiting.values()}
    deadline = time.monotonic() + PROBE_S
    while silent and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poller.poll(left * 1000):
            probe, address = waiting[descriptor]
            poller.unregister(probe)
            error = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            # Refused is an answer; unreachable and timed out are not.
            if error in (0, 111):
                silent.discard(address)
    for probe, _ in waiting.values():
        probe.close()
    return silent


def run(argv: list[str], stdin: str = "") -> bool:
    """Run a short program; a failure or more than two seconds is reported, never fatal."""
    try:
        done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{argv[0]}: {error}", flush=True)
        return False
    if done.returncode:
        print(f"{argv[0]}: {done.stderr.decode(errors='replace').strip()}", flush=True)
    return done.returncode == 0


def install_rule(exempt_ports: list[int]) -> None:
    """The empty set and the rule. In one transaction, so that a restart never leaves a half table."""
    ports = ", ".join(str(port) for port in exempt_ports)
    rules = f"""
        table {TABLE} {{}}
        delete table {TABLE}
        table {TABLE} {{
            set silent {{ type ipv4_addr; flags timeout; timeout {EXPIRY_S}s; }}
            chain refuse {{
                type filter hook output priority 0;
                ip daddr @silent tcp dport != {{ {ports} }} tcp sport != {{ {ports} }} reject with tcp reset
            }}
        }}
    """
    while not run(["nft", "-f", "-"], rules):
        time.sleep(1)


def renew(addresses: set[str]) -> None:
    """Put the addresses into the set, or start their time anew: add alone would not renew it."""
    elements = ", ".join(sorted(addresses))
    verbs = ("add", "delete", "add")
    run(["nft", "-f", "-"], "".join(f"{verb} element {TABLE} silent {{ {elements} }}\n" for verb in verbs))


def release(addresses: set[str]) -> None:
    """Take the addresses out at once; an element that has expired meanwhile is no error."""
    elements = ", ".join(sorted(addresses))
    script = "".join(f"{verb} element {TABLE} silent {{ {elements} }}\n" for verb in ("add", "delete"))
    run(["nft", "-f", "-"], script)


def main(config: dict[str, Any]) -> None:
    members = Members("127.0.0.1", config["members_port"])
    install_rule(config["exempt_ports"])
    cut: dict[str, str] = {}  # address → name of the peers that are silent now
    renewed = 0.0
    print("watching", flush=True)
    while True:
        started = time.monotonic()
        failed = members.failed()
        silent = silent_among(sorted(failed), config["probe_port"]) if failed else set()
        fresh = {address: failed[address] for address in silent if address not in cut}
        back = {address: name for address, name in cut.items() if address not in silent}
        if back:
            release(set(back))
        if fresh or (silent and started - renewed >= RENEW_S):
            renew(silent)
            renewed = started
        for address, name in fresh.items():
            run(["ss", "--kill", "--tcp", "--numeric", "dst", address])
            print(f"silent {address} {name}", flush=True)
        for address, name in back.items():
            print(f"answers again {address} {name}", flush=True)
        cut = {address: failed[address] for address in silent}
        time.sleep(max(0.02, POLL_S - (time.monotonic() - started)))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
