"""The dead-peer guard: turns a peer's silence into errors, so that no program waits for a machine that is gone.

Runs on every node (`tercet-guard.service`) with the standard library alone. The only argument is a JSON file: {"dcs":
endpoint, "probe_port": …, "probe_s": …, "exempt_ports": […], "tailnet": CIDR, "sites": {NAME: SITE} of the nodes of the
other sites, "firewall": {"table": …, "unit": …}}.

Over a tunnel, as after a power cut, a dead peer sends no RST and no ICMP; packets just vanish. Patroni, Raft, pools and
streams would each wait until their own time limit. So:

- Every 0.2 s, the guard asks the local `dcs` agent for its members. The agent answers from memory, without the network.
- A member is silent if gossip calls it failed *and* it does not answer a TCP connect to its gossip port within
  `probe_s`. Its address goes into an nftables set, whose elements soon expire by themselves. An output rule answers TCP
  to that set with a reset, and open sockets to the address are aborted once (`ss -K`).
- The neighbours of a failed member, the other nodes of its site, are probed too, because a site dies as a whole and
  gossip finds its nodes one by one. A neighbour that is silent twice in a row is treated as silent before gossip says
  so. (Seen: gossip had found the database node first. A node whose `dcs` agent asked the dead site's server learned 0.9
  s later than the others that the leader key was free, 1.9 s of a failover of 3.7 s.)
- A refused connect counts as an answer: the machine is alive, and its kernel refuses connections by itself.
- When silent peers answer again, the agent joins one of them at once. Serf by itself tries a failed member only every
  30 s, and not each time. A join exchanges the whole state over TCP. Failures that a join reports are only suspicions,
  which the suspected member can deny, while failures that gossip reports are believed (memberlist, mergeState).

The probe is essential. When a cut heals, the stale gossip of the side that was cut off calls healthy members failed for
a moment. Without its own probe, the guard cut off the healthy primary and a second failover followed (seen: 24 s).
Resets may leave, too: if only this side takes the other for silent, the other must learn that its connections have
ended. (Seen: pgpool waited for an answer without end, because it had no keepalives and the reset had been refused.)

Gossip's ports and the port of the probe are exempt from the rule, as destination and as source. Otherwise a silent peer
could never be seen alive again: after a cut, the guard on each side would refuse its own kernel's answer to the probe
of the other side (seen: a healed site stayed alone forever).

The guard also looks every 10 s whether the node's firewall is still there, because `nft flush ruleset` removes that,
too; nodeside/firewall.py ends as soon as its rules are installed.

When the guard itself has a problem:

- It dies or hangs: the set is empty two seconds later, and systemd starts the guard again.
- It cannot change the filter: it exits. systemd calls the unit active only when the rule is installed; until then the
  unit's status has the reason.
- It was suspended or got no CPU during a round of probes: that round is discarded.
- The agent does not answer: the members that gossip last called failed are still probed, so a peer that is back is
  released.
- Gossip names an address outside the tailnet: the address is refused.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tercet.nodeside.api import Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.host import ProgramError, notify, run
from tercet.nodeside.tailnet import Tailnet

POLL_S = 0.2
AGENT_S = 1.0
RENEW_S = 0.8  # well before an element expires, but without a new nft process every POLL_S
CHECK_S = 10.0  # someone else may have flushed the filter
INSTALL_S = 1.0  # between two attempts to install the rule
PAUSE_S = 1.0  # if a round takes this much longer than its probes may take, the guard itself was paused
ALIVE, FAILED = 1, 4  # serf's member status
ANSWERS = (0, errno.ECONNREFUSED)  # results of a connect that count as an answer; "unreachable" and "timed out" do not
TABLE = "inet tercet_guard"


@dataclass(frozen=True, slots=True)
class Suspects:
    """Address → name: the members that gossip calls failed, and their neighbours that it does not call failed."""

    failed: dict[str, str] = field(default_factory=dict)
    neighbours: dict[str, str] = field(default_factory=dict)


class Members:
    """Asks the agent for its members over one kept connection; parses only an answer that changed."""

    def __init__(self, dcs: Endpoint, tailnet: Tailnet, sites: dict[str, str]) -> None:
        self._agent = Api(dcs, keep=True)
        self._tailnet, self._sites = tailnet, sites
        self._body = b""
        self._suspects = Suspects()
        self._answered = True

    def suspects(self) -> Suspects:
        """The members to probe. If the agent does not answer, its last answer is used."""
        try:
            answer = self._agent.ask("GET", "/v1/agent/members", timeout=AGENT_S)
            if answer.status != 200 or answer.body != self._body:
                self._suspects = suspects_among(answer.json(), self._tailnet, self._sites)
                self._body = answer.body
            self._answered = True
        except (ApiError, TypeError, KeyError) as error:
            if self._answered:
                print(f"the dcs agent gives no answer: {error!r}", flush=True)
            self._answered = False
        return self._suspects

    def join(self, address: str) -> None:
        """Make the agent exchange its state with that peer's agent. If this fails, gossip does it later."""
        try:
            answer = self._agent.ask("PUT", f"/v1/agent/join/{address}", timeout=AGENT_S)
            said = answer.text().strip()
            print(f"joined {address}" if answer.status == 200 else f"cannot join {address}: {said}", flush=True)
        except ApiError as error:
            print(f"cannot join {address}: {error!r}", flush=True)


def suspects_among(members: list[dict[str, Any]], tailnet: Tailnet, sites: dict[str, str]) -> Suspects:
    """`sites` has only the nodes of the other sites, because gossip finds silent nodes of its own site soon enough."""
    failed = admitted(members, FAILED, tailnet)
    struck = {sites[name] for name in failed.values() if name in sites}
    alive = [member for member in members if sites.get(member["Name"]) in struck]
    return Suspects(failed, admitted(alive, ALIVE, tailnet))


def admitted(members: list[dict[str, Any]], status: int, tailnet: Tailnet) -> dict[str, str]:
    """Address → name of the members with that status whose address is in the tailnet."""
    found = {str(member["Addr"]): str(member["Name"]) for member in members if member["Status"] == status}
    addresses = tailnet.admitted(found)
    return {address: name for address, name in found.items() if address in addresses}


def silent_among(addresses: list[str], port: int, patience: float) -> set[str] | None:
    """The addresses that neither accept nor refuse a TCP connection within `patience` seconds. All are tried at once.

    None if this took so long that the node itself must have been paused; the result is then unknown.
    """
    waiting: dict[int, tuple[socket.socket, str]] = {}
    silent = set(addresses)
    poller = select.poll()
    started = time.monotonic()
    for address in addresses:
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        result = probe.connect_ex((address, port))
        if result == errno.EINPROGRESS:
            waiting[probe.fileno()] = (probe, address)
            poller.register(probe, select.POLLOUT)
            continue
        probe.close()
        if result in ANSWERS:
            silent.discard(address)
    left = patience
    while waiting and left > 0:
        # The last poll is after the deadline, so an answer that arrived while this process was suspended counts.
        left = started + patience - time.monotonic()
        for descriptor, _ in poller.poll(max(0.0, left) * 1000):
            probe, address = waiting.pop(descriptor)
            poller.unregister(probe)
            if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERS:
                silent.discard(address)
            probe.close()
    for probe, _ in waiting.values():
        probe.close()
    return silent if time.monotonic() - started < patience + PAUSE_S else None


def install_rule(exempt_ports: list[int], expiry: float) -> None:
    """Install the empty set and the rule in one transaction, so that a restart never leaves an incomplete table. Raises
    ProgramError.
    """
    ports = ", ".join(str(port) for port in exempt_ports)
    rules = f"""
        table {TABLE} {{}}
        delete table {TABLE}
        table {TABLE} {{
            set silent {{ type ipv4_addr; flags timeout; timeout {round(expiry * 1000)}ms; }}
            chain refuse {{
                type filter hook output priority 0;
                tcp dport {{ {ports} }} accept
                tcp sport {{ {ports} }} accept
                tcp flags & rst == rst accept
                ip daddr @silent reject with tcp reset
            }}
        }}
    """
    run(["nft", "-f", "-"], rules)


def renew(addresses: set[str]) -> None:
    """Put the addresses into the set, or restart their time: add alone would not renew it. Raises ProgramError."""
    elements = ", ".join(sorted(addresses))
    verbs = ("add", "delete", "add")
    run(["nft", "-f", "-"], "".join(f"{verb} element {TABLE} silent {{ {elements} }}\n" for verb in verbs))


def release(addresses: set[str]) -> None:
    """Remove the addresses at once. An element that has already expired is not an error. Raises ProgramError."""
    elements = ", ".join(sorted(addresses))
    script = "".join(f"{verb} element {TABLE} silent {{ {elements} }}\n" for verb in ("add", "delete"))
    run(["nft", "-f", "-"], script)


def main(config: dict[str, Any]) -> None:
    # An element must live longer than a probe, the agent's time limit and the interval between two renewals together.
    install(config["exempt_ports"], config["probe_s"] + AGENT_S + RENEW_S)
    notify("STATUS=watching")
    print("watching", flush=True)
    try:
        watch(config)
    except ProgramError as error:
        sys.exit(f"cannot change the filter: {error}")


def install(exempt_ports: list[int], expiry: float) -> None:
    """Install the rule; try again until this succeeds. The reason for a failure is logged once."""
    problem = ""
    while True:
        try:
            return install_rule(exempt_ports, expiry)
        except ProgramError as error:
            if str(error) != problem:
                problem = str(error)
                print(f"cannot install the rule: {problem}", flush=True)
                notify(f"STATUS=cannot install the rule: {problem}")
        time.sleep(INSTALL_S)


def watch(config: dict[str, Any]) -> None:
    """Runs forever. Raises ProgramError if the filter cannot be changed."""
    members = Members(Endpoint(**config["dcs"]), Tailnet(config["tailnet"]), config["sites"])
    cut: dict[str, str] = {}  # address → name of the peers that are silent now
    doubted: set[str] = set()  # neighbours that were silent in the last round
    renewed = checked = time.monotonic()
    while True:
        started = time.monotonic()
        suspects = members.suspects()
        notify("READY=1\nWATCHDOG=1")
        names = {**suspects.neighbours, **suspects.failed}
        unheard = silent_among(sorted(names), config["probe_port"], config["probe_s"])
        if unheard is None:
            continue
        silent = {address for address in unheard if address in suspects.failed or address in doubted}
        doubted = unheard & suspects.neighbours.keys()
        fresh = {address: names[address] for address in silent if address not in cut}
        back = {address: name for address, name in cut.items() if address not in silent}
        if back:
            release(set(back))
        if fresh or (silent and started - renewed >= RENEW_S):
            renew(silent)
            renewed = started
        elif started - checked >= CHECK_S:
            keep_closed(**config["firewall"])
            run(["nft", "list", "chain", *TABLE.split(), "refuse"])
            checked = started
        for address, name in fresh.items():
            abort_connections(address)
            print(f"silent {address} {name}", flush=True)
        for address, name in back.items():
            print(f"answers again {address} {name}", flush=True)
        if back:
            members.join(f"{min(back)}:{config['probe_port']}")
        cut = {address: names[address] for address in silent}
        time.sleep(max(0.02, POLL_S - (time.monotonic() - started)))


def keep_closed(table: str, unit: str) -> None:
    """Have the node's firewall installed again if somebody removed it. If that fails, the next look tries again."""
    try:
        run(["nft", "list", "chain", *table.split(), "input"])
    except ProgramError as missing:
        print(f"the firewall is gone ({missing}): it is installed again", flush=True)
        try:
            run(["systemctl", "--no-block", "restart", unit])
        except ProgramError as error:
            print(error, flush=True)


def abort_connections(address: str) -> None:
    """Saves time, because the rule resets the sockets at their next packet, and tells the peer, if it lives."""
    try:
        run(["ss", "--kill", "--tcp", "--numeric", "dst", address])
    except ProgramError as error:
        print(error, flush=True)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
