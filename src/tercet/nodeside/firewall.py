"""The firewall of a node (`tercet-firewall.service`, every node): drops everything that nobody opened.

Run at boot before tailscaled, and by `apply`. Argument: a JSON file {"interface": "tailscale0", "tailnet": CIDR,
"join": UDP port of tailscaled, "ports": the platform's, "members": names in /etc/hosts, "rules": [{"of": names, "tcp":
ports, "udp": ports}, …], "open": {"tailnet": TCP ports, "outside": TCP ports} for everybody, "users": {NAME: ports, "":
ports of all users}, "lost": whether sites are lost}.

What comes in:

- **Over the tailnet**, a member may use the ports that a rule opens for it. Nobody else may use any port of the
  platform; a lost node, for example, is no member. A packet that opens no connection is accepted from any member,
  whether or not conntrack knows that connection: it forgets them when somebody flushes it.
- **From any other interface**, only what joins the tailnet: tailscaled's UDP, DHCP, the neighbours' addresses of IPv6,
  answers, and the ports that the inventory opens to everybody. Without this, whoever shares a bridge with the node
  would reach everything that listens on its tailnet address, because Linux answers for all of its addresses on every
  interface.
- **A packet with a tailnet address that comes in anywhere else** is dropped first. As its source, the address is
  forged; as its destination, the packet has gone around the tailnet.

What goes out: root may use the platform's ports everywhere, on this node and in the tailnet. Other users may use what
their name has, and on this node also what all users have; they are refused the rest at once. Otherwise each process on
a node would be a member of the platform: it could, for example, write to `dcs` what Patroni then executes on the
database nodes.

Only root and the users of the platform's programs answer at the platform's ports. Otherwise anybody on a node could
listen there while a program is down, and root's programs would send it their token.

While sites are lost, this node also opens no connection to the platform's ports on a machine that is no member: a lost
site that returns has a Raft leader or candidate that remembers this node's address, and writes into the log of the
server that answers there. The keys of its nodes in the tailnet have expired; this is the second lock, which works even
if somebody lets the old node join again.

Invariant: the rules are installed before tailscaled runs, and always replaced as a whole, so a node is never open and
never shut in between. They stay when the unit stops. A member whose address is unknown is not admitted.
"""

from __future__ import annotations

import contextlib
import json
import pwd
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercet.nodeside.host import ProgramError, run
from tercet.nodeside.tailnet import Tailnet, addresses_in

TABLE = "inet tercet_firewall"
HOSTS = Path("/etc/hosts")
AGAIN_S = 1.0
# The tailnet's IPv6 addresses (tailscale.com/kb/1033). No program of the platform uses them.
TAILNET6 = "fd7a:115c:a1e0::/48"


@dataclass(frozen=True)
class Rule:
    """The ports that the nodes with these addresses may use."""

    addresses: tuple[str, ...]
    tcp: tuple[str, ...] = ()
    udp: tuple[str, ...] = ()


@dataclass(frozen=True)
class User:
    """The ports that a user may connect to. `uid` is None for all users, who may connect to them on this node only."""

    uid: int | None
    ports: tuple[int, ...]


def table(config: dict[str, Any], members: Iterable[str], rules: Iterable[Rule], users: Sequence[User]) -> str:
    """The table for `nft -f`, which replaces it in one transaction."""
    interface, tailnet = config["interface"], config["tailnet"]
    ports = _ports(config["ports"])
    opened = [
        f"ip saddr {{ {_list(rule.addresses)} }} {protocol} dport {{ {_list(numbers)} }} accept"
        for rule in rules
        for protocol, numbers in (("tcp", rule.tcp), ("udp", rule.udp))
        if rule.addresses and numbers
    ]
    everybody = {
        chain: f"tcp dport {{ {_list(numbers)} }} accept" if numbers else ""
        for chain, numbers in config["open"].items()
    }
    allowed = [
        f"{'oifname lo' if user.uid is None else f'meta skuid {user.uid}'} {_ports(user.ports)} accept"
        for user in users
    ]
    ours = sorted({0, *(user.uid for user in users if user.uid is not None)})
    lost = [
        f'oifname != "{interface}" accept',
        "ip daddr @members accept",
        "jump refuse",
    ]
    elements = f"elements = {{ {_list(members)} }}" if members else ""
    return f"""
        table {TABLE} {{}}
        delete table {TABLE}
        table {TABLE} {{
            set members {{ type ipv4_addr; {elements} }}
            chain forged {{
                type filter hook prerouting priority raw;
                iifname {{ "lo", "{interface}" }} accept
                ip saddr {tailnet} counter drop
                ip daddr {tailnet} counter drop
                ip6 saddr {TAILNET6} counter drop
                ip6 daddr {TAILNET6} counter drop
            }}
            chain input {{
                type filter hook input priority filter; policy drop;
                iifname "lo" accept
                iifname "{interface}" goto tailnet
                goto outside
            }}
            chain tailnet {{
                ip saddr @members tcp flags & (syn | ack) != syn accept
                ip saddr @members meta l4proto icmp accept
                # Later fragments have no port. Without the first one, the kernel discards them.
                ip saddr @members ip frag-off & 0x1fff != 0 accept
                {_lines(opened)}
                {everybody["tailnet"]}
                {ports} counter drop
                ct state established,related accept
                counter drop
            }}
            chain outside {{
                ct state established,related accept
                udp dport {config["join"]} accept
                {everybody["outside"]}
                udp sport 67 udp dport 68 accept
                udp sport 547 udp dport 546 accept
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
                counter drop
            }}
            chain output {{
                type filter hook output priority -10;
                {_lines(lost if config["lost"] else [])}
            }}
            chain users {{
                type filter hook output priority -10;
                {_ports(config["ports"], "sport")} meta skuid != {{ {_list(ours)} }} counter drop
                meta skuid 0 accept
                tcp flags & (syn | ack) != syn accept
                {_lines(allowed)}
                ip daddr {{ 127.0.0.0/8, {tailnet} }} jump refuse
                ip6 daddr {{ ::1, {TAILNET6} }} jump refuse
            }}
            chain refuse {{
                tcp dport {{ {_list(config["ports"])} }} reject with tcp reset
                {ports} reject
            }}
        }}
    """


def _list(items: Iterable[Any]) -> str:
    return ", ".join(str(item) for item in items)


def _ports(numbers: Iterable[int], which: str = "dport") -> str:
    return f"meta l4proto {{ tcp, udp }} th {which} {{ {_list(numbers)} }}"


def _lines(rules: Iterable[str]) -> str:
    return "\n                ".join(rules)


def known(hosts: str, names: Iterable[str], tailnet: Tailnet) -> tuple[str, ...]:
    """The addresses of these nodes within the tailnet, of those that have one."""
    return tuple(sorted(addresses_in(hosts, set(names), tailnet)))


def named(users: dict[str, list[int]]) -> list[User]:
    """Those that this node has. A name that it does not have may use nothing."""
    found = []
    for name, ports in users.items():
        with contextlib.suppress(KeyError):
            found.append(User(pwd.getpwnam(name).pw_uid if name else None, tuple(ports)))
    return found


def main(config: dict[str, Any]) -> None:
    tailnet, hosts = Tailnet(config["tailnet"]), HOSTS.read_text()
    members = known(hosts, config["members"], tailnet)
    rules = [
        Rule(known(hosts, rule["of"], tailnet), tuple(rule["tcp"]), tuple(rule["udp"])) for rule in config["rules"]
    ]
    script = table(config, members, rules, named(config["users"]))
    problem = ""
    while True:
        try:
            run(["nft", "-f", "-"], script)
            break
        except ProgramError as error:
            if str(error) != problem:
                problem = str(error)
                print(f"cannot install the rules: {problem}", flush=True)
        time.sleep(AGAIN_S)  # tailscaled waits for this unit
    print(f"members: {', '.join(members) or 'none'}", flush=True)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
