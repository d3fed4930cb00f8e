"""Two addresses of an apps node's own that always lead to the right database nodes.

What the daemon does and why is in nodeside/routes.py. The addresses are of the range for benchmarks of network
devices (RFC 2544), which is routed nowhere; what is sent to them leaves the node translated.
"""

from __future__ import annotations

from tercet.components.guard.component import SUPERVISED, program
from tercet.components.patroni.declaration import PatroniPorts
from tercet.components.proxy.flavour import leader_of, preference
from tercet.components.rolling import in_turn
from tercet.components.systemd import NEEDS_TAILNET
from tercet.converge.requests import Exec
from tercet.converge.resources import File, Object, Resource, Unit
from tercet.inventory.platform import Platform

UNIT = "tercet-routes.service"
FILE = "/var/lib/tercet/routes"
PRIMARY, READ = "198.18.0.1", "198.18.0.2"

_RECORD = "/run/tercet-routes/map"
PID_FILE = "/run/tercet-routes/pid"  # goes with its directory when the unit stops
_CHECK = f"nft list map ip tercet_routes target | grep -oE '198[.0-9]+ : [.0-9]+' | sort | cmp -s - {_RECORD}"


def template(platform: Platform, site: str) -> bytes:
    """Consul Template's text: who passes as primary, who holds Patroni's leader key, and whom this site reads, best
    first: its own node, the replicas by latency, the primary.

    Of several primaries the last one named counts: the holder of the key, if it passes as replica or primary. Tags
    lag behind the key. A standby that was promoted is tagged at its next check, up to a second later; a primary that
    died passes again for two seconds, from its return to its first check (seen: writes at two sites were led to it
    for 1.6 s).
    """
    name = platform.settings.postgresql.service
    local, *others = preference(platform, site)
    services = (("primaries", f"primary.{name}"), ("replicas", f"replica.{name}"), ("all", f"{name}|any"))
    return "".join(
        (
            *(f'{{{{ ${variable} := service "{service}" -}}}}\n' for variable, service in services),
            leader_of(name),
            _line("primary", "$primaries"),
            *(_line("primary", nodes, "$leader") for nodes in ("$replicas", "$primaries")),
            _line("leader", "$all", "$leader"),
            _line("read", "$primaries", f'"{local}"'),
            *(_line("read", "$replicas", f'"{node}"') for node in (local, *others)),
            _line("read", "$primaries"),
        )
    ).encode()


def _line(role: str, nodes: str, node: str = "") -> str:
    """A line "ROLE ADDRESS" for each of the nodes, or for that one of them only."""
    line = f"{role} {{{{ .Address }}}}\n"
    chosen = f"{{{{ if eq .Node {node} }}}}{line}{{{{ end }}}}" if node else line
    return f"{{{{ range {nodes} }}}}{chosen}{{{{ end -}}}}\n"


def resources(platform: Platform) -> tuple[Resource, ...]:
    """The program, its configuration and its unit."""
    settings = platform.settings
    config: dict[str, object] = {
        "file": FILE,
        "record": _RECORD,
        "pid_file": PID_FILE,
        "primary": PRIMARY,
        "read": READ,
        "port": settings.ports.of(PatroniPorts).postgresql,
        "user": settings.postgresql.user,
        "tailnet": str(settings.tailnet.cidr),
    }
    service = {
        **SUPERVISED,
        "RuntimeDirectory": "tercet-routes",
        "RuntimeDirectoryPreserve": "restart",  # a successor reads in the record what it need not end
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "TimeoutStartSec": "infinity",  # until Consul Template has written the file for the first time
    }
    title = "Local addresses that lead to the primary and to the node that is read"
    return program("routes", title, config, modules=("host", "tailnet"), service=service, unit=NEEDS_TAILNET)


def unit(platform: Platform) -> Unit:
    return Unit(
        UNIT,
        restart_on=tuple(each.path for each in resources(platform) if isinstance(each, File)),
        rolling=in_turn("proxies"),
    )


def in_force(node: str) -> Object:
    """The kernel does what the daemon told it."""
    return Object(
        f"routes of {node}",
        Exec(("sh", "-c", _CHECK)),
        lambda answer: None if answer.ok else "the kernel's map of addresses is not what tercet-routes made it",
        (Exec(("systemctl", "restart", UNIT)),),
    )
