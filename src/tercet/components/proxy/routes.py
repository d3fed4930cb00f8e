"""Two addresses of an apps node's own that always lead to the right database nodes.

For a proxy that takes a changed backend only by a restart: its backends are these two, for ever, and the kernel
(nftables, destination NAT) sends a new connection to whoever is primary, or is read, just now. When a target
changes, the sockets to the old one are aborted, so that the proxy connects anew; nothing is restarted.

Invariant: the map in the kernel says what the file says; `check` compares them. The addresses are of the
range for benchmarks of network devices (RFC 2544), which is routed nowhere; they leave this node translated.
"""

from __future__ import annotations

from tercet.components.rolling import in_turn
from tercet.components.systemd import NEEDS_TAILNET, unit_file, unit_path
from tercet.converge.requests import Exec
from tercet.converge.resources import File, Object, Unit

UNIT = "tercet-routes.service"
PROGRAM = "/usr/lib/tercet/routes"
FILE = "/var/lib/tercet/routes"  # lines of "ROLE ADDRESS"
PRIMARY, READ = "198.18.0.1", "198.18.0.2"

# Consul Template's output. Without a primary its address leads to the node that is read: writes are then refused
# by PostgreSQL itself with 25006, and reads go on.
TEMPLATE = """\
{{- $read := scratch.Get "read" }}{{ $primary := or (scratch.Get "primary") $read -}}
primary {{ $primary }}
read {{ $read }}
"""

_PROGRAM = f"""#!/bin/sh
# Makes the two local addresses lead where {FILE} says (apply), tells whether they do (check), or ends it (stop).
set -eu

wanted() {{
    awk '$2 {{ print ($1 == "primary" ? "{PRIMARY}" : "{READ}") " : " $2 }}' {FILE} | sort
}}

in_force() {{
    nft list map ip tercet_routes target 2>/dev/null | grep -oE '198[.0-9]+ : [.0-9]+' | sort
}}

apply() {{
    before=$(in_force) || before=
    ip address replace {PRIMARY}/32 dev lo
    ip address replace {READ}/32 dev lo
    targets=$(wanted | paste -sd, -)
    fill=
    [ -z "$targets" ] || fill="add element ip tercet_routes target {{ $targets }}"
    nft -f - <<END
add table ip tercet_routes
add map ip tercet_routes target {{ type ipv4_addr : ipv4_addr; }}
add chain ip tercet_routes output {{ type nat hook output priority -100; }}
add chain ip tercet_routes leave {{ type nat hook postrouting priority 100; }}
flush table ip tercet_routes
flush map ip tercet_routes target
$fill
add rule ip tercet_routes output dnat to ip daddr map @target
add rule ip tercet_routes leave ip saddr {{ {PRIMARY}, {READ} }} masquerade
END
    for address in {PRIMARY} {READ}; do
        old=$(echo "$before" | grep "^$address ") || old=
        new=$(wanted | grep "^$address ") || new=
        [ "$old" = "$new" ] && continue
        [ -z "$old" ] || ss --kill --tcp --numeric dst "$address" > /dev/null
        echo "${{new:-$address : nowhere}}"
    done
}}

stop() {{
    nft delete table ip tercet_routes || true
    ip address delete {PRIMARY}/32 dev lo || true
    ip address delete {READ}/32 dev lo || true
}}

check() {{
    [ "$(wanted)" = "$(in_force)" ]
}}

"$1"
"""


def files() -> tuple[File, ...]:
    """The program and its unit."""
    unit = unit_file(
        "Local addresses that lead to the primary and to the node that is read",
        {
            "Type": "oneshot",
            "RemainAfterExit": "yes",
            "ExecStartPre": f"/bin/sh -c 'until [ -s {FILE} ]; do sleep 0.1; done'",
            "ExecStart": f"{PROGRAM} apply",
            "ExecReload": f"{PROGRAM} apply",
            "ExecStop": f"{PROGRAM} stop",
            "TimeoutStartSec": "infinity",
        },
        unit=NEEDS_TAILNET,
        restart=False,
    )
    return File(PROGRAM, _PROGRAM.encode(), mode=0o755), File(unit_path(UNIT), unit)


def unit() -> Unit:
    """Enabled and applied."""
    return Unit(UNIT, restart_on=(PROGRAM, unit_path(UNIT)), rolling=in_turn("proxies"))


def in_force(node: str) -> Object:
    """What the kernel does is what Consul Template wrote."""
    return Object(
        f"routes of {node}",
        Exec((PROGRAM, "check")),
        lambda answer: None if answer.ok else "the kernel leads elsewhere than Consul Template says",
        (Exec(("systemctl", "restart", UNIT)),),
    )
