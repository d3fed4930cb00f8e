"""`dcs`: a fourth Consul datacenter that spans all sites, only for leader election.

Each specified datacenter has its own KV store, so three Patronis would elect three leaders, and Consul refuses a
session across federated datacenters. `dcs` is one Raft across the control nodes of the sites; every other node runs a
client agent of it. Two agents share a container, so `dcs` has other ports. It is joined with the others over the WAN,
so that people and jobs can look up `primary.SERVICE@dcs` anywhere. The proxies ask their own local `dcs` agent, because
a forwarded query hangs if the server on the way is silent.

Invariant: its Raft is created once, on the control node of the first primary's site, with a permission that `apply`
gives only while no database node holds data (components/permission.py). A server without data and without the
permission joins the Raft of the others. If all three lost their data, they stay without a leader: an empty `dcs` knows
neither the node with the last commits nor that there is a cluster, so the first node that asks would become primary.
`tercet recover dcs` (operations/recover_dcs.py) restores its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints, permission
from tercet.components.consul import access
from tercet.components.consul import agent as consul_agent
from tercet.components.consul.agent import Agent, Start
from tercet.components.consul.component import alive
from tercet.components.consul.declaration import ConsulPorts
from tercet.components.context import Context
from tercet.components.dcs.declaration import UNIT, DcsPorts
from tercet.components.dcs.services import registered
from tercet.components.guard.hungwatch import api, hungwatch
from tercet.components.patroni import component as patroni
from tercet.components.rolling import everywhere
from tercet.components.text import as_json
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Exec, Http, Request
from tercet.converge.resources import File, Object, Resource
from tercet.datafile import text_of
from tercet.inventory.checks import RESERVED_DATACENTER
from tercet.inventory.platform import Node, Platform, Role

NAME = RESERVED_DATACENTER
CONFIG_DIR = "/etc/consul-dcs.d"
DATA = "/var/lib/consul-dcs"
PERMISSION = "/var/lib/tercet/dcs-bootstrap.json"

# Next to the Raft, where Consul reads it. Consul ignores it when there is a Raft. A server that loses its Raft also
# loses this file, whether it lost all of its data or only the folder `raft`.
_BESIDE = f"{DATA}/bootstrap"
_BEFORE_START = text_of(__package__, "before-start.sh", DATA=DATA, BESIDE=_BESIDE, PERMISSION=PERMISSION)


@dataclass(frozen=True, slots=True)
class Dcs:
    """Servers on the control nodes, and the tokens of all nodes. The other agents come later (DcsAgents): they take a
    registration that is denied for done, and repeat it only after a minute or two.
    """

    context: Context
    name: str = NAME
    after: tuple[str, ...] = ("consul-credentials",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.CONTROL:
            return
        platform = self.context.platform
        wan = platform.settings.ports.of(ConsulPorts).consul_serf_wan
        controls = [control.name for control in platform.of(Role.CONTROL)]
        server: dict[str, object] = {
            "server": True,
            # The other side's WAN port, not ours: these are the servers of dc1..dcN.
            "retry_join_wan": [f"{name}:{wan}" for name in controls],
            "retry_interval_wan": "1s",
            # A dead site's server stays a voter: three voters of which two live have the same quorum as two voters
            # do, and nothing changes when it comes back. Consul reads this when a Raft is created, and never again:
            # it is that of all sites, also while some are lost.
            "autopilot": {
                "min_quorum": len(platform.settings.sites),
                "server_stabilization_time": "1s",
            },
        }
        if node == bootstrap_server(platform):
            yield self._permission()
        start = Start(File("/usr/lib/tercet/dcs-before-start", _BEFORE_START.encode(), mode=0o755), _BESIDE)
        yield from _agent(self.context, node, server, start)
        yield from access.program()
        yield access.created(self.context, access.stretched(self.context))

    def permission(self) -> Exec:
        """Allow the server that gets this to create the Raft when it sees all servers."""
        controls = self.context.platform.of(Role.CONTROL)
        return permission.give(PERMISSION, as_json({"bootstrap_expect": len(controls)}))

    def _permission(self) -> Object:
        """Given once, while no node holds data. Otherwise this server joins the others, and the gate reports it if
        there is nothing to join.
        """
        platform = self.context.platform
        peers = endpoints.dcs(platform).curl("/v1/status/peers")
        exists = f'[ -e {PERMISSION} ] || [ -n "$(ls {_BESIDE} 2>/dev/null)" ] || curl -sf -m 2 {peers} | grep -q :'
        # Consul reads the permission when it starts.
        restart = f"if systemctl -q is-active {UNIT}; then systemctl restart {UNIT}; fi"
        return Object(
            "the permission to create the Raft of dcs",
            Exec(("sh", "-c", exists)),
            lambda answer: None if answer.ok else "there is neither a Raft nor the permission",
            (self.permission(), Exec(("sh", "-c", restart), timeout=30)),
            needs=tuple((db.name, permission.holds_data(patroni.DATA)) for db in platform.of(Role.DB)),
            permit=permission.nobody_has_data,
            optional=True,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        """They need no token that the Raft has: they must be answered without a leader, too."""
        if node.role is not Role.CONTROL:
            return {}
        platform, secrets = self.context.platform, self.context.secrets
        return {
            "dcs.members": _members_of(self.context, node),
            "dcs.leader": Http(endpoints.dcs(platform), "/v1/status/leader"),
            "dcs.peers": Http(endpoints.dcs(platform, secrets), "/v1/operator/raft/configuration"),
            "dcs.raft": Http(endpoints.dcs(platform), "/v1/status/peers"),
        }

    def healthy(self) -> Iterable[Condition]:
        platform = self.context.platform
        controls = tuple((node.name, UNIT) for node in platform.of(Role.CONTROL))
        yield Condition(f"dcs: one leader among {len(controls)} voters", _elected(platform), controls)


@dataclass(frozen=True, slots=True)
class DcsAgents:
    """Client agents on the other nodes; they register the components' services."""

    context: Context
    name: str = "dcs-agents"
    after: tuple[str, ...] = (NAME,)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role in (Role.APPS, Role.DB):
            yield from _agent(self.context, node, {}, None)

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {} if node.role is Role.WORLD else {"dcs.members": _members_of(self.context, node)}

    def healthy(self) -> Iterable[Condition]:
        platform = self.context.platform
        nodes = tuple((node.name, UNIT) for node in platform.nodes)
        yield Condition("dcs: every node is a member", _members(platform), nodes)


def _agent(context: Context, node: Node, role: Mapping[str, object], start: Start | None) -> Iterable[Resource]:
    """The node's agent. `role` has the settings that only a server has."""
    platform = context.platform
    ports = platform.settings.ports.of(DcsPorts)
    agent = Agent(UNIT, CONFIG_DIR, DATA, ports.dcs_http)
    others = [control.name for control in platform.of(Role.CONTROL) if control != node]
    settings: dict[str, object] = {
        **consul_agent.base_settings(context, agent, node.name, NAME, quick=True),
        "ports": {
            "http": -1,
            "https": ports.dcs_http,
            "dns": ports.dcs_dns,
            "serf_lan": ports.dcs_serf_lan,
            "serf_wan": ports.dcs_serf_wan,
            "server": ports.dcs_server,
            "grpc": -1,
            "grpc_tls": -1,
        },
        "retry_join": [f"{name}:{ports.dcs_serf_lan}" for name in others],
        **role,
    }
    services = registered(context, node)
    yield from consul_agent.resources(
        context,
        node,
        agent,
        "Consul for leader election (dcs)",
        settings,
        definitions={"services": services} if services else None,
        # Clients also one at a time: the primary renews its session through its own agent.
        # Not with the agent's own token: a server with another one is not down.
        rolling=everywhere("dcs", node, platform, endpoints.dcs(platform, context.secrets)),
        start=start,
    )
    # If the agent on the primary's node hangs, no write is possible until this has ended it: 3 to 5 s.
    yield from hungwatch(
        "dcswatch",
        "Ends a dcs agent that does not answer",
        UNIT,
        api(endpoints.dcs(platform)),
        looks=3,
        pause_s=0.5,
    )


def _members_of(context: Context, node: Node) -> Http:
    return Http(endpoints.dcs_agent(context.platform, node.name, context.secrets), "/v1/agent/members")


def bootstrap_server(platform: Platform) -> Node:
    """The control node that creates the Raft, if it has the permission."""
    return platform.at(platform.initial_primary.site, Role.CONTROL)


def lost(readings: Readings, controls: Iterable[str]) -> bool:
    """Whether every server runs and none has a Raft: then the data of `dcs` is lost."""
    return all(readings.get(control, "dcs.raft").json() == [] for control in controls)


def raft_of(readings: Readings, controls: Iterable[str]) -> tuple[str, int]:
    """The leader's node name and the number of voters according to the first server that answers; ("", 0) if none."""
    for control in controls:
        servers = (readings.get(control, "dcs.peers").json() or {}).get("Servers", [])
        leader = next((server["Node"] for server in servers if server["Leader"]), "")
        if leader:
            return leader, sum(1 for server in servers if server["Voter"])
    return "", 0


def _elected(platform: Platform) -> Callable[[Readings], State]:
    controls = [node.name for node in platform.of(Role.CONTROL)]

    def check(readings: Readings) -> State:
        if lost(readings, controls):
            return Waiting(f"no server has a Raft: its data is lost, and no node is promoted. {patroni.RECOVER}")
        for control in readings.present(controls):
            if not readings.get(control, "dcs.leader").json():
                return Waiting(f"{control} knows no leader ({readings.get(control, 'dcs.leader').why()})")
        leader, voters = raft_of(readings, controls)  # a server that is away stays a voter
        if voters != len(controls):
            return Waiting(f"{voters} voters")
        return Passing(leader)

    return check


def _members(platform: Platform) -> Callable[[Readings], State]:
    names = [node.name for node in platform.nodes]

    def check(readings: Readings) -> State:
        expected = set(readings.present(names))
        for node in sorted(expected):
            missing = sorted(expected - alive(readings, node, "dcs.members"))
            if missing:
                return Waiting(f"{node} does not see {', '.join(missing)}")
        return Passing(f"{len(expected)} members")

    return check
