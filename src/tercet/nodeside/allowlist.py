"""While sites are lost, allows only the platform's remaining nodes to use its ports over the tailnet.

Run at boot before tailscaled, and by `apply` (`tercet-allowlist.service`). Arguments: a JSON file {"members": names in
/etc/hosts, "tailnet": the address range, "interface": "tailscale0", "ports": the platform's}, and "raise" or "lower".

A lost site that returns has a Raft leader or candidate that remembers this node's address, and writes into the log of
the server that answers there. The keys of its nodes in the tailnet have expired. This program is the second lock, on
the node itself, which works even if somebody lets the old node join again. Only the platform's own ports are closed;
SSH over the same tailnet still works.

Invariant: the rules are installed before tailscaled runs. They are always replaced as a whole. A member whose address
is unknown is not admitted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tercet.nodeside.host import ProgramError, run
from tercet.nodeside.tailnet import Tailnet

TABLE = "inet tercet_allowlist"
HOSTS = Path("/etc/hosts")
AGAIN_S = 1.0


def addresses(hosts: str, members: list[str], tailnet: Tailnet) -> list[str]:
    """The members' addresses within the tailnet."""
    found = set[str]()
    for line in hosts.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if set(names) & set(members):
            found.add(address)
    return sorted(tailnet.admitted(found))


def rules(allowed: list[str], interface: str, ports: list[int]) -> str:
    """The table, for `nft -f`. Connections to lost nodes are reset, so that no program here waits for them."""
    elements = f"elements = {{ {', '.join(allowed)} }}" if allowed else ""
    known = ", ".join(str(port) for port in sorted(set(ports)))
    closed = f"meta l4proto {{ tcp, udp }} th dport {{ {known} }}"
    return f"""
        table {TABLE} {{}}
        delete table {TABLE}
        table {TABLE} {{
            set members {{ type ipv4_addr; {elements} }}
            chain input {{
                type filter hook input priority -10;
                iifname "{interface}" ip saddr @members accept
                iifname "{interface}" {closed} drop
            }}
            chain output {{
                type filter hook output priority -10;
                oifname "{interface}" ip daddr @members accept
                oifname "{interface}" tcp dport {{ {known} }} reject with tcp reset
                oifname "{interface}" {closed} reject
            }}
        }}
    """


def main(config: dict[str, Any], word: str) -> None:
    if word == "lower":
        run(["nft", "-f", "-"], f"table {TABLE} {{}}\ndelete table {TABLE}\n")
        return
    allowed = addresses(HOSTS.read_text(), config["members"], Tailnet(config["tailnet"]))
    problem = ""
    while True:
        try:
            run(["nft", "-f", "-"], rules(allowed, config["interface"], config["ports"]))
            break
        except ProgramError as error:
            if str(error) != problem:
                problem = str(error)
                print(f"cannot install the rules: {problem}", flush=True)
        time.sleep(AGAIN_S)  # tailscaled waits for this unit
    print(f"admitted: {', '.join(allowed) or 'none'}", flush=True)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file), sys.argv[2])
