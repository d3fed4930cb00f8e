"""Two addresses on an apps node that always lead to the right database nodes.

nodeside/routes.py says what the daemon does and why. The addresses are from the range for benchmarks of network devices
(RFC 2544), which is not routed anywhere. Packets to them are translated before they leave the node.
"""

from __future__ import annotations

from tercet.components.guard.component import SUPERVISED, program
from tercet.components.patroni.declaration import PROBER, PatroniPorts
from tercet.components.proxy.flavour import STATE
from tercet.components.proxy.serving import proxies
from tercet.components.sandbox import Sandbox
from tercet.components.settled import settled
from tercet.components.systemd import NEEDS_TAILNET
from tercet.converge.requests import Exec
from tercet.converge.resources import File, Object, Resource, Unit
from tercet.inventory.platform import Platform
from tercet.inventory.timing import timing_of

UNIT = "tercet-routes.service"
FILE = f"{STATE}/routes"
PRIMARY, READ = "198.18.0.1", "198.18.0.2"

_RECORD = "/run/tercet-routes/map"
PID_FILE = "/run/tercet-routes/pid"  # removed with its directory when the unit stops
_CHECK = f"nft list map ip tercet_routes target | grep -oE '198[.0-9]+ : [.0-9]+' | sort | cmp -s - {_RECORD}"


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
        "user": PROBER,
        "tailnet": str(settings.tailnet.cidr),
        "ttl_s": timing_of(settings).ttl,
    }
    service = {
        **SUPERVISED,
        "RuntimeDirectory": "tercet-routes",
        "RuntimeDirectoryPreserve": "restart",  # the next process reads the record, and keeps the right connections
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "TimeoutStartSec": "infinity",  # until Consul Template has written the file for the first time
    }
    title = "Local addresses that lead to the primary and to the node that is read"
    modules = ("halfopen", "host", "pings", "tailnet")
    sandbox = Sandbox(
        # nft, `ss --kill` and addresses of lo; pings; the open files of the proxy's processes.
        capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"),
        calls=("pidfd_getfd",),  # nodeside/halfopen.py
    )
    return program("routes", title, config, modules=modules, service=service, unit=NEEDS_TAILNET, sandbox=sandbox)


def unit(platform: Platform) -> Unit:
    return Unit(
        UNIT,
        restart_on=tuple(each.path for each in resources(platform) if isinstance(each, File)),
        rolling=proxies(),
    )


def in_force(node: str) -> Object:
    """Whether the kernel's map is what the daemon set."""
    return Object(
        f"routes of {node}",
        settled("sh", "-c", _CHECK),
        lambda answer: None if answer.ok else "the kernel's map of addresses is not what tercet-routes made it",
        (Exec(("systemctl", "restart", UNIT)),),
    )
