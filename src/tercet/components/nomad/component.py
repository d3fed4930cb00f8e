"""Nomad: one cluster across all sites, with servers on the control nodes and clients on the apps nodes.

Invariant: any two of three servers are a quorum, so Nomad survives the loss of a site. The heartbeat settings decide
how soon a dead site's allocations run elsewhere: 13 s after a kill with the `fast` profile (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.consul.tls import FOLDER as CONSUL_TLS
from tercet.components.context import Context
from tercet.components.guard.component import CLIENT, SUPERVISED, daemon
from tercet.components.mutual_tls import LOOPBACK
from tercet.components.nomad import security, tls
from tercet.components.nomad.declaration import USER, NomadPorts
from tercet.components.people import for_people
from tercet.components.rolling import in_turn, raft_servers
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import CONTROL_PLANE, NEEDS_TAILNET, unit_file, unit_path
from tercet.components.tailscale.component import INTERFACE
from tercet.components.text import as_json
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Http, Request
from tercet.converge.resources import Directory, File, Resource, Unit
from tercet.inventory.platform import Node, Platform, Role

UNIT = "nomad.service"
CONFIG_DIR = "/etc/nomad.d"
CONFIG, SECRETS = f"{CONFIG_DIR}/nomad.json", f"{CONFIG_DIR}/secrets.json"
NOMAD = "/usr/local/bin/nomad"
DATA = "/var/lib/nomad"
SERVER = f"{DATA}/server"

_DENIED_UIDS = "0-999"  # root, postgres and the other users of the system
# Nomad 1.11.3 takes every user for a member of group 0, and gives this group to a task that names a user (it makes a
# list of the user's groups with room for them, and adds them behind: setCmdUser, getGroupsID). So 0 cannot be denied,
# and no file whose group is root may be readable for its group if it is not for everybody.
_DENIED_GIDS = "1-999"
OWN_ADDRESS = f'{{{{ GetInterfaceIP "{INTERFACE}" }}}}'


@dataclass(frozen=True, slots=True)
class Nomad:
    """Servers and clients of the one cluster."""

    context: Context
    name: str = "nomad"
    after: tuple[str, ...] = ("consul",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role not in (Role.CONTROL, Role.APPS):
            return
        programs = self.context.program("nomad")
        yield from programs
        yield Directory(CONFIG_DIR, purge=True)
        user = USER if node.role is Role.CONTROL else "root"
        yield from tls.member(self.context, node).files(tls.FOLDER, user)
        yield File(CONFIG, as_json(self._config(node)))
        if node.role is Role.CONTROL:
            secrets = as_json(tls.secret_settings(self.context))
            yield File(SECRETS, secrets, mode=0o600, owner=USER, secret=True)
            yield Directory("/etc/tercet")
            yield security.token(self.context)
        yield for_people("nomad", endpoints.nomad(self.context.platform))
        yield File(unit_path(UNIT), self._unit(node))
        if node.role is Role.CONTROL:
            rolling = raft_servers("nomad servers", endpoints.nomad(self.context.platform, self.context.secrets))
        else:
            rolling = in_turn("nomad clients", client=True)
        links = tuple(program.link for program in programs)
        yield Unit(
            UNIT,
            restart_on=(CONFIG, unit_path(UNIT), CONSUL_TLS.ca, *links),
            reload_on=(tls.FOLDER.ca, tls.FOLDER.node),
            rolling=rolling,
        )
        if node.role is Role.CONTROL:
            yield from security.created(self.context)
        yield from self._rejoin(node)

    def _rejoin(self, node: Node) -> Iterable[Resource]:
        """Joins members that were away and are back, of this cluster and of Consul, which comes before it."""
        platform, control = self.context.platform, node.role is Role.CONTROL
        consul = endpoints.consul_agent(platform, node.name, self.context.secrets)._asdict()
        own = endpoints.nomad(platform, self.context.secrets if control else None)._asdict()
        pools = [["consul-lan", consul]]
        if control:
            pools += [["consul-wan", consul], ["nomad", own]]
        config: dict[str, object] = {
            "dcs": endpoints.dcs_agent(platform, node.name, self.context.secrets)._asdict(),
            "pools": pools,
            "tailnet": str(platform.settings.tailnet.cidr),
            "client": None if control else own,
        }
        title = "Brings back at once what was away and answers again"
        modules = (*CLIENT, "host", "pools", "tailnet")
        yield from daemon("rejoin", title, config, modules=modules, secret=True, service=SUPERVISED)

    def _config(self, node: Node) -> dict[str, object]:
        platform = self.context.platform
        ports, consul = platform.settings.ports.of(NomadPorts), endpoints.consul(platform)
        servers = [f"{control.name}:{ports.nomad_serf}" for control in platform.of(Role.CONTROL)]
        config: dict[str, object] = {
            "datacenter": platform.site(node.site).datacenter,
            "region": "global",
            "name": node.name,
            "data_dir": DATA,
            "bind_addr": OWN_ADDRESS,
            "addresses": {"http": LOOPBACK},
            "advertise": {"http": LOOPBACK, "rpc": OWN_ADDRESS, "serf": OWN_ADDRESS},
            "ports": {
                "http": ports.nomad_http,
                "rpc": ports.nomad_rpc,
                "serf": ports.nomad_serf,
            },
            "disable_update_check": True,
            "leave_on_interrupt": False,
            "leave_on_terminate": False,
            **tls.settings(),
            **security.settings(),
            "consul": {"address": f"{consul.host}:{consul.port}", "ssl": True, "ca_file": consul.ca},
        }
        if node.role is Role.CONTROL:
            timing = self.context.timing
            # A dead site's server stays a voter and is shown as failed, as in `dcs`. By default, autopilot removes it
            # and lists it as left. Nomad reads this when it creates the cluster, and never again.
            config["autopilot"] = {"cleanup_dead_servers": False}
            config["server"] = {
                "enabled": True,
                # The number of all sites, even while some are lost: a server that expects only itself creates a cluster
                # as soon as it has no data, without asking others.
                "bootstrap_expect": len(platform.settings.sites),
                "server_join": {"retry_join": servers, "retry_interval": "1s"},
                # Raft's leader contacts each follower every 50 to 100 ms, times this, even at rest (CommitTimeout,
                # which Nomad multiplies and Consul does not); an election takes a second longer for it.
                "raft_multiplier": 2,
                "heartbeat_grace": f"{timing.nomad_heartbeat_grace_s}s",
                "min_heartbeat_ttl": f"{timing.nomad_min_heartbeat_ttl_s}s",
                "failover_heartbeat_ttl": f"{timing.nomad_failover_heartbeat_ttl_s}s",
            }
        else:
            rpc = [f"{control.name}:{ports.nomad_rpc}" for control in platform.of(Role.CONTROL)]
            # There may be no default route, so the interface must be named.
            config["client"] = {"enabled": True, "network_interface": INTERFACE, "servers": rpc}
            # `exec` needs cgroup controllers that the lab does not have, and more rights than an unprivileged container
            # on Proxmox may have. With either driver, the container isolates the jobs from the host.
            # A job that names no user would run as root, like the agent; Nomad counts it as root here, and refuses it.
            denied = {"denied_host_uids": _DENIED_UIDS, "denied_host_gids": _DENIED_GIDS}
            config["plugin"] = {"raw_exec": {"config": {"enabled": True, **denied}}}
        return config

    def _unit(self, node: Node) -> bytes:
        return unit_file(
            "Nomad",
            {
                **CONTROL_PLANE,
                **({"User": USER} if node.role is Role.CONTROL else {}),
                "ExecStart": f"{NOMAD} agent -config={CONFIG_DIR}",
                "ExecReload": "/bin/kill -HUP $MAINPID",
                "KillSignal": "SIGINT",
                "KillMode": "process",  # allocations survive a restart of the agent
                "TimeoutStopSec": 5,
                "StateDirectory": "nomad",
                "LimitNOFILE": 65536,
                "TasksMax": "infinity",
            },
            # A client starts tasks as their users and mounts their directories, and tasks inherit its sandbox.
            sandbox=Sandbox(read_only=True) if node.role is Role.CONTROL else None,
            unit={**NEEDS_TAILNET, "After": "tailnet-ready.service consul.service"},
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is not Role.CONTROL:
            return {}
        agent = endpoints.nomad(self.context.platform, self.context.secrets)
        return {
            "nomad.leader": Http(agent, "/v1/status/leader"),
            "nomad.servers": Http(agent, "/v1/agent/members"),
            "nomad.clients": Http(agent, "/v1/nodes?stale"),
        }

    def healthy(self) -> Iterable[Condition]:
        platform = self.context.platform
        controls = tuple((node.name, UNIT) for node in platform.of(Role.CONTROL))
        apps = tuple((node.name, UNIT) for node in platform.of(Role.APPS))
        yield Condition(f"nomad: one leader and {len(controls)} servers", _elected(platform), controls)
        yield Condition(f"nomad: {len(apps)} clients are ready", _clients(platform), apps)


def leader_of(readings: Readings, controls: Iterable[str]) -> str:
    """The RPC address of the leader according to the first server that knows one; empty if none does."""
    for control in controls:
        leader = readings.get(control, "nomad.leader").json()
        if isinstance(leader, str) and leader:
            return leader
    return ""


def servers_of(readings: Readings, control: str) -> dict[str, tuple[str, str]]:
    """Server name → (status, address) according to that server's gossip. Names are without the region."""
    members = (readings.get(control, "nomad.servers").json() or {}).get("Members", [])
    return {m["Name"].removesuffix(".global"): (m["Status"], m["Addr"]) for m in members}


def clients_of(readings: Readings, controls: Iterable[str]) -> dict[str, str]:
    """Client name → status (ready, down, disconnected, initializing), from the first server that answers."""
    for control in controls:
        clients = readings.get(control, "nomad.clients").json()
        if clients is not None:
            # A reinstalled client has a second, dead entry of the same name: the one that is alive counts.
            return {c["Name"]: c["Status"] for c in sorted(clients, key=lambda c: str(c["Status"]) == "ready")}
    return {}


def _elected(platform: Platform) -> Callable[[Readings], State]:
    controls = [node.name for node in platform.of(Role.CONTROL)]

    def check(readings: Readings) -> State:
        present = readings.present(controls)
        for control in present:
            if not leader_of(readings, [control]):
                return Waiting(f"{control} knows no leader ({readings.get(control, 'nomad.leader').why()})")
            servers = servers_of(readings, control)
            dead = sorted(name for name in present if servers.get(name, ("", ""))[0] != "alive")
            if dead:
                return Waiting(f"{control} does not see {', '.join(dead)} alive")
        return Passing(leader_of(readings, controls))

    return check


def _clients(platform: Platform) -> Callable[[Readings], State]:
    controls = [node.name for node in platform.of(Role.CONTROL)]
    expected = [node.name for node in platform.of(Role.APPS)]

    def check(readings: Readings) -> State:
        clients, present = clients_of(readings, controls), readings.present(expected)
        late = [f"{name} is {clients.get(name, 'unknown')}" for name in present if clients.get(name) != "ready"]
        return Waiting(", ".join(late)) if late else Passing(", ".join(present))

    return check
