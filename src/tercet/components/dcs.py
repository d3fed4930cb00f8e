"""`dcs`: a fourth, stretched Consul datacenter over all sites, for leader election alone.

Why it exists: each specified datacenter has its own KV store, so three Patronis would elect three leaders, and
a session across federated datacenters is refused. `dcs` is one Raft over the sites' control nodes; every other
node runs a client agent of it. Two agents share a container, hence the shifted ports. It is WAN-joined with
the others so that people and jobs can ask `primary.SERVICE@dcs` anywhere; the proxies ask their own local `dcs`
agent, because a forwarded query hangs when the server it goes through is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import consul_agent
from tercet.components.consul import alive
from tercet.components.consul_agent import Agent
from tercet.components.context import Context
from tercet.components.rolling import by_weight
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Http, Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node, Platform, Role

NAME = "dcs"
UNIT = "consul-dcs.service"


@dataclass(frozen=True, slots=True)
class Dcs:
    """Servers on the control nodes, client agents on the others; the database service on the db nodes."""

    context: Context
    name: str = NAME
    after: tuple[str, ...] = ("tailscale",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        platform = self.context.platform
        ports = platform.settings.ports
        agent = Agent(UNIT, "/etc/consul-dcs.d", "/var/lib/consul-dcs", ports.dcs_http)
        controls = [control.name for control in platform.of(Role.CONTROL)]
        settings = consul_agent.base_settings(self.context, agent, node.name, NAME, quick=True)
        settings["ports"] = {
            "http": ports.dcs_http,
            "dns": ports.dcs_dns,
            "serf_lan": ports.dcs_serf_lan,
            "serf_wan": ports.dcs_serf_wan,
            "server": ports.dcs_server,
            "grpc": -1,
            "grpc_tls": -1,
        }
        settings["retry_join"] = [f"{name}:{ports.dcs_serf_lan}" for name in controls if name != node.name]
        # Clients in turn too: the primary's session hangs on its own agent's health.
        rolling = by_weight("dcs", node, platform, f"http://127.0.0.1:{ports.dcs_http}/v1/agent/self")
        if node.role is Role.CONTROL:
            settings |= {
                "server": True,
                "bootstrap_expect": len(controls),
                # The other side's WAN port, not ours: these are the servers of dc1..dcN.
                "retry_join_wan": [f"{name}:{ports.consul_serf_wan}" for name in controls],
                "retry_interval_wan": "1s",
                # A dead site's server stays a voter: three voters of which two live hold the same quorum
                # as two voters do, and nothing changes when it comes back.
                "autopilot": {"min_quorum": len(controls), "server_stabilization_time": "1s"},
            }
        definitions = self._database_service(node) if node.role is Role.DB else None
        title = "Consul for leader election (dcs)"
        yield from consul_agent.resources(
            self.context, agent, title, settings, definitions=definitions, rolling=rolling
        )

    def _database_service(self, node: Node) -> dict[str, object]:
        """Static registration, tagged by what Patroni's REST API answers each second.

        Patroni's own registration has an old-tag race (hashicorp/consul#13578) and disappears after 100 s.
        """
        settings = self.context.platform.settings
        api = f"http://{node.name}:{settings.ports.patroni}"
        return {
            "services": [
                {
                    "id": f"{settings.postgresql.service}-{tag}",
                    "name": settings.postgresql.service,
                    "tags": [tag],
                    "port": settings.ports.postgresql,
                    "check": {"http": f"{api}/{tag}", "interval": "1s", "timeout": "1s"},
                }
                for tag in ("primary", "replica")
            ]
        }

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is Role.WORLD:
            return {}
        base = f"http://127.0.0.1:{self.context.platform.settings.ports.dcs_http}/v1"
        questions: dict[str, Request] = {"dcs.members": Http(f"{base}/agent/members")}
        if node.role is Role.CONTROL:
            questions["dcs.leader"] = Http(f"{base}/status/leader")
            questions["dcs.peers"] = Http(f"{base}/operator/raft/configuration")
        return questions

    def healthy(self) -> Iterable[Condition]:
        platform = self.context.platform
        controls = tuple((node.name, UNIT) for node in platform.of(Role.CONTROL))
        nodes = tuple((node.name, UNIT) for node in platform.nodes)
        yield Condition(f"dcs: one leader among {len(controls)} voters", _elected(platform), controls)
        yield Condition("dcs: every node is a member", _members(platform), nodes)


def raft_of(readings: Readings, controls: Iterable[str]) -> tuple[str, int]:
    """Leader's node name and number of voters, as the first server that answers sees them; ("", 0) if none."""
    for control in controls:
        servers = (readings.get(control, "dcs.peers").json() or {}).get("Servers", [])
        leader = next((server["Node"] for server in servers if server["Leader"]), "")
        if leader:
            return leader, sum(1 for server in servers if server["Voter"])
    return "", 0


def _elected(platform: Platform) -> Callable[[Readings], State]:
    controls = [node.name for node in platform.of(Role.CONTROL)]

    def check(readings: Readings) -> State:
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
