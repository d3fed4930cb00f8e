"""The settings that every agent of both Consul layers needs.

Reasons (docs/components/consul.md has them in detail):
- `leave_on_terminate: false`, `skip_leave_on_interrupt`: a graceful leave deregisters the node and destroys its
  sessions, so a restart of an agent would cause a failover.
- `raft_multiplier: 1`: elections take a second instead of five.
- gossip_lan of `dcs` from the timing profile: with `fast`, a dead site is known after about a second. Nothing waits for
  the sites' own datacenters, so these probe once a second, which is Consul's default.
- `retransmit_mult: 10`: with memberlist's 4, a node learns of a change only with probability 1 - e^-4 (each of nine
  nodes tells 4 random others). So in a start of nine nodes, one join stayed unknown to some node for up to 50 s (seen).
- `use_streaming_backend: false`, `rpc_hold_timeout`, `rpc_client_timeout`: a stream to a silent server hangs for 30 s.
  A plain blocking query ends after seconds, and the next one goes to another server.
- `retry_interval`: the default is 30 s. Nodes start at the same time, so joins are retried every second.
- client addresses are loopback only: only the node itself may use an agent's API, which speaks TLS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tercet.components.consul import access, credentials, tls
from tercet.components.consul.declaration import USER
from tercet.components.context import Context
from tercet.components.mutual_tls import LOOPBACK
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import CONTROL_PLANE, NEEDS_TAILNET, unit_file, unit_path
from tercet.components.tailscale.component import INTERFACE
from tercet.components.text import as_json
from tercet.converge.resources import Directory, File, Resource, Rolling, Unit
from tercet.inventory.platform import Node, Role

CONSUL = "/usr/local/bin/consul"


@dataclass(frozen=True, slots=True)
class Agent:
    """One Consul agent's place on a node."""

    unit: str  # "consul.service"
    config_dir: str  # "/etc/consul.d"
    data_dir: str  # "/var/lib/consul"
    http_port: int


@dataclass(frozen=True, slots=True)
class Start:
    """What runs before the agent starts, and the directory of further configuration that it prepares."""

    script: File
    config_dir: str


def base_settings(
    context: Context, agent: Agent, node: str, datacenter: str, *, quick: bool = False
) -> dict[str, object]:
    """The settings that do not depend on the agent's role. `quick`: failures must be detected soon."""
    timing = context.timing
    probes: dict[str, object] = {
        "probe_interval": f"{timing.gossip_probe_interval_ms}ms",
        "probe_timeout": f"{timing.gossip_probe_timeout_ms}ms",
        "suspicion_mult": timing.suspicion_mult,
    }
    return {
        "datacenter": datacenter,
        "node_name": node,
        "data_dir": agent.data_dir,
        "bind_addr": f'{{{{ GetInterfaceIP "{INTERFACE}" }}}}',
        "client_addr": LOOPBACK,
        "leave_on_terminate": False,
        "skip_leave_on_interrupt": True,
        "disable_update_check": True,
        "use_streaming_backend": False,
        "retry_interval": "1s",
        "tls": tls.settings(),
        "acl": access.settings(),
        "performance": {"raft_multiplier": 1, "rpc_hold_timeout": "1s"},
        "limits": {"rpc_client_timeout": "3s"},
        "gossip_lan": {
            **(probes if quick else {}),
            "gossip_interval": f"{timing.gossip_interval_ms}ms",
            "retransmit_mult": 10,
        },
    }


def resources(
    context: Context,
    node: Node,
    agent: Agent,
    title: str,
    settings: dict[str, object],
    *,
    definitions: dict[str, object] | None = None,
    rolling: Rolling | None = None,
    start: Start | None = None,
) -> Iterable[Resource]:
    """All resources of one agent on one node. `definitions` (services) are reloaded, like the certificate; `settings`
    need a restart, and so does the token that a server makes valid. credentials.py has what both agents read.
    """
    programs = context.program("consul")
    config = [File(f"{agent.config_dir}/agent.json", as_json(settings))]
    if node.role is Role.CONTROL:
        secrets = as_json({"acl": {"tokens": access.server_tokens(context)}})
        config.append(File(f"{agent.config_dir}/secrets.json", secrets, mode=0o600, owner=USER, secret=True))
    services = f"{agent.config_dir}/services.json"
    yield from programs
    yield from tls.member(context, node).files(tls.FOLDER, USER)
    yield Directory(agent.config_dir, purge=True)
    yield from config
    if definitions is not None:
        yield File(services, as_json(definitions))
    shared = [f"-config-file={path}" for path in (credentials.TOKENS, credentials.GOSSIP)]
    own, before = [f"-config-dir={agent.config_dir}"], dict[str, str]()
    if start is not None:
        yield start.script
        own.append(f"-config-dir={start.config_dir}")
        before["ExecStartPre"] = f"+{start.script.path}"  # as root: it takes a file from elsewhere
    yield File(
        unit_path(agent.unit),
        unit_file(
            title,
            {
                **CONTROL_PLANE,
                "User": USER,
                **before,
                "ExecStart": " ".join((CONSUL, "agent", *shared, *own)),
                "ExecReload": "/bin/kill -HUP $MAINPID",
                "KillSignal": "SIGINT",
                "TimeoutStopSec": 5,
                "StateDirectory": agent.data_dir.removeprefix("/var/lib/"),
                "LimitNOFILE": 65536,
            },
            sandbox=Sandbox(read_only=True),
            unit=NEEDS_TAILNET,
        ),
    )
    yield Unit(
        agent.unit,
        restart_on=(
            *(file.path for file in config),
            unit_path(agent.unit),
            *((start.script.path,) if start is not None else ()),
            *(program.link for program in programs),
        ),
        reload_on=(tls.FOLDER.ca, tls.FOLDER.node, *((services,) if definitions is not None else ())),
        rolling=rolling,
    )
