"""Consul as specified: one datacenter per site, with one server each, federated only by WAN gossip.

Invariant: a datacenter does not need the others: its server bootstraps alone (`bootstrap_expect 1`) and joins the
others by `retry_join_wan`. The loss of one does not affect the others. PostgreSQL's failover does not depend on these
three, but on the fourth datacenter (components/dcs/component.py).

Server and clients join each other, in any order. A server that comes back without its data knows no member, and its
clients call it failed and try it only every 30 s, with probability 1/2 (serf's reconnect, seen to take over a minute).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.consul import access
from tercet.components.consul import agent as consul_agent
from tercet.components.consul.agent import Agent
from tercet.components.consul.declaration import UNIT, ConsulPorts
from tercet.components.context import Context
from tercet.components.people import for_people
from tercet.components.rolling import in_turn
from tercet.converge.component import Condition, Passing, Readings, Skipped, State, Waiting
from tercet.converge.requests import Http, Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node, Platform, Role

DATA = "/var/lib/consul"


@dataclass(frozen=True, slots=True)
class Consul:
    """Servers on the control nodes, client agents on the others."""

    context: Context
    name: str = "consul"
    after: tuple[str, ...] = ("consul-credentials",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        platform = self.context.platform
        ports = platform.settings.ports.of(ConsulPorts)
        agent = Agent(UNIT, "/etc/consul.d", DATA, ports.consul_http)
        site = platform.site(node.site)
        settings = consul_agent.base_settings(self.context, agent, node.name, site.datacenter)
        settings["ports"] = {
            "http": -1,
            "https": ports.consul_http,
            "dns": ports.consul_dns,
            "serf_lan": ports.consul_serf_lan,
            "serf_wan": ports.consul_serf_wan,
            "server": ports.consul_server,
            "grpc_tls": -1,
        }
        if node.role is Role.CONTROL:
            others = [control.name for control in platform.of(Role.CONTROL) if control != node]
            clients = [each.name for each in platform.nodes if each.site == node.site and each != node]
            settings |= {
                "server": True,
                "bootstrap_expect": 1,
                "retry_join": [f"{name}:{ports.consul_serf_lan}" for name in clients],
                "retry_join_wan": [f"{name}:{ports.consul_serf_wan}" for name in others],
                "retry_interval_wan": "1s",
            }
        else:
            settings["retry_join"] = [f"{platform.at(node.site, Role.CONTROL).name}:{ports.consul_serf_lan}"]
        rolling = in_turn("consul servers") if node.role is Role.CONTROL else in_turn("consul clients", client=True)
        title = f"Consul of datacenter {site.datacenter}"
        yield from consul_agent.resources(self.context, node, agent, title, settings, rolling=rolling)
        yield for_people("consul", endpoints.consul(platform))
        if node.role is Role.CONTROL:
            yield from access.program()
            yield access.created(self.context, access.of_site(self.context, site))

    def questions(self, node: Node) -> Mapping[str, Request]:
        """They need no token that the Raft has: they must be answered without a leader, too."""
        if node.role is not Role.CONTROL:
            return {}
        platform = self.context.platform
        agent = endpoints.consul_agent(platform, node.name, self.context.secrets)
        return {
            "consul.leader": Http(endpoints.consul(platform), "/v1/status/leader"),
            "consul.wan": Http(agent, "/v1/agent/members?wan=1"),
            "consul.lan": Http(agent, "/v1/agent/members"),
        }

    def leads(self, site: str) -> Condition:
        """The datacenter of one site by itself."""
        platform = self.context.platform
        units = tuple((node.name, UNIT) for node in platform.nodes if node.site == site)
        title = f"{platform.site(site).datacenter}: a leader and all three members"
        return Condition(title, _leads(platform, platform.at(site, Role.CONTROL).name), units)

    def healthy(self) -> Iterable[Condition]:
        platform = self.context.platform
        yield from (self.leads(site.name) for site in platform.sites)
        controls = tuple((node.name, UNIT) for node in platform.of(Role.CONTROL))
        yield Condition("consul: every datacenter sees every other", _federated(platform), controls)


def leader_of(readings: Readings, control: str) -> str:
    """The address of the leader according to that server; empty while there is none."""
    leader = readings.get(control, "consul.leader").json()
    return leader if isinstance(leader, str) else ""


def alive(readings: Readings, node: str, question: str) -> set[str]:
    """The names of the members that are alive according to gossip (serf status 1)."""
    return {member["Name"] for member in readings.get(node, question).json() or [] if member["Status"] == 1}


def _leads(platform: Platform, control: str) -> Callable[[Readings], State]:
    site = platform.node(control).site
    members = [node.name for node in platform.nodes if node.site == site]

    def check(readings: Readings) -> State:
        if control in readings.away:
            return Skipped(f"{control} cannot be reached")
        if not leader_of(readings, control):
            return Waiting(f"no leader ({readings.get(control, 'consul.leader').why()})")
        missing = sorted(set(readings.present(members)) - alive(readings, control, "consul.lan"))
        return Waiting(f"not a member: {', '.join(missing)}") if missing else Passing(control)

    return check


def _federated(platform: Platform) -> Callable[[Readings], State]:
    datacenters = {platform.at(site.name, Role.CONTROL).name: site.datacenter for site in platform.sites}

    def check(readings: Readings) -> State:
        present = readings.present(datacenters)
        expected = {f"{name}.{datacenters[name]}" for name in present}
        for control in present:
            missing = sorted(expected - alive(readings, control, "consul.wan"))
            if missing:
                return Waiting(f"{control} does not see {', '.join(missing)}")
        return Passing(", ".join(datacenters[name] for name in present))

    return check
