"""Tailscale on every node: the network that everything else binds to, and the names of its members.

Invariant: `/etc/hosts` is the only file of the platform with tailnet addresses. All other configuration has the names
of nodes, so its bytes do not depend on the addresses, and replacing a node changes only this file. Each program takes
its own address from the interface.

Other units are ordered after `tailnet-ready.service`, which is active when tailscale0 has an address. Consul resolves
`GetInterfaceIP "tailscale0"` only once, at its start, so it must not start earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.headscale import component as headscale
from tercet.components.headscale.declaration import AUTHORITY, HOSTNAME
from tercet.components.headscale.policy import applied
from tercet.components.rolling import everywhere
from tercet.components.sandbox import PLAIN, Sandbox
from tercet.components.systemd import CONTROL_PLANE, unit_file, unit_path
from tercet.components.tailscale.declaration import TailscalePorts
from tercet.components.tailscale.policy import policy
from tercet.components.tcp import tcp
from tercet.components.text import as_json
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import NO_ANSWER, Answer, Deferred, Exec, Http, Request
from tercet.converge.resources import Directory, File, Object, Resource, Unit
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.platform import Node, Role
from tercet.nodeside.endpoint import Endpoint

if TYPE_CHECKING:
    from tercet.tailnet.control_plane import ControlPlane

TAILSCALE = "/usr/local/bin/tailscale"
INTERFACE = "tailscale0"
UNIT = "tailscaled.service"
READY = "tailnet-ready.service"
HOSTS = "/etc/hosts"
LAB_CA = "/etc/tercet/ca/lab.pem"
TAILNET_CA = "/etc/tercet/ca/tailnet.pem"
SOCKET = "/run/tailscale/tailscaled.sock"
LOCAL = Endpoint("local-tailscaled.sock", 80, socket=SOCKET)  # tailscaled's own API
# The same as `tailscale status --json`, from the daemon itself, which saves nine starts of a large program in each
# look.
STATUS = Http(LOCAL, "/localapi/v0/status", timeout=3)

# Lines of tailscaled about each requested ping, and about lines that were left out.
_PING, _LIMITED = r"ping\(.*: sending disco ping to", r"\[RATELIMIT\] format\(.(localapi: |ping\()"

# Waits forever, because a node may be up long before its control plane. Other units start after it.
JOIN_S = 20  # seconds for a login, which takes one to six
JOIN = text_of(
    __package__, "join.sh", SOCKET=SOCKET, TAILSCALE=TAILSCALE, UNIT=UNIT, TIMEOUT_S=JOIN_S, KILL_S=JOIN_S + 2
)

READY_SCRIPT = text_of(__package__, "ready.sh", INTERFACE=INTERFACE)


@dataclass(frozen=True)
class Tailscale:
    """tailscaled, the node's login, and /etc/hosts."""

    context: Context
    name: str = "tailscale"

    @property
    def after(self) -> tuple[str, ...]:
        return ("headscale",) if self.context.platform.world else ("fingerprint",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            yield from applied(Deferred("all nodes have joined the tailnet", self._address_needs(), self._policy))
            return
        ready = "/usr/lib/tercet/tailnet-ready"
        yield from tcp(node)
        programs = (*self.context.program("tailscaled"), *self.context.program("tailscale"))
        yield from programs
        yield Directory("/usr/lib/tercet")
        yield Directory("/etc/tercet")
        yield Directory("/etc/tercet/ca", purge=True)
        authority = self._authority
        yield from authority
        yield File(ready, READY_SCRIPT.encode(), mode=0o755)
        yield File(unit_path(UNIT), self._tailscaled_unit())
        yield File(
            unit_path(READY),
            unit_file(
                "The tailnet address exists",
                {
                    "Type": "oneshot",
                    "RemainAfterExit": "yes",
                    "ExecStart": ready,
                    "TimeoutStartSec": "infinity",
                },
                sandbox=PLAIN,
                unit={"After": UNIT, "Wants": UNIT},
                restart=False,
            ),
        )
        yield File("/etc/.pve-ignore.hosts", b"")  # otherwise Proxmox rewrites /etc/hosts at each start
        agent = endpoints.dcs(self.context.platform, self.context.secrets)
        yield Unit(
            UNIT,
            restart_on=(unit_path(UNIT), *(file.path for file in authority), *(program.link for program in programs)),
            rolling=everywhere("tailnet", node, self.context.platform, agent),
        )
        yield self._login(node)
        yield File(HOSTS, Deferred("all nodes have joined the tailnet", self._address_needs(), self._hosts))
        yield Unit(READY, restart_on=(unit_path(READY), ready))

    def _tailscaled_unit(self) -> bytes:
        port = self.context.platform.settings.ports.of(TailscalePorts).tailscale
        return unit_file(
            "Tailscale node agent",
            {
                **CONTROL_PLANE,
                "Type": "notify",
                # The control server's CA in addition to the system's: Go reads both directories.
                "Environment": "SSL_CERT_DIR=/etc/ssl/certs:/etc/tercet/ca",
                "ExecStart": "/usr/local/bin/tailscaled --state=/var/lib/tailscale/tailscaled.state "
                f"--socket={SOCKET} --port={port} --no-logs-no-support",
                "ExecStopPost": "/usr/local/bin/tailscaled --cleanup",
                "RuntimeDirectory": "tailscale",
                "StateDirectory": "tailscale",
                "TimeoutStopSec": 5,
                # tailscaled logs this for every ping that tercet-paths requests.
                "LogFilterPatterns": [rf"~{what}" for what in ("localapi: .POST. /localapi/v0/ping", _PING, _LIMITED)],
            },
            sandbox=Sandbox(capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW")),  # the interface; pings
        )

    def _login(self, node: Node) -> Object:
        tailnet = self.context.platform.settings.tailnet
        server = f"https://{HOSTNAME}" if self.context.platform.world else tailnet.login_server
        options = (
            *((f"--login-server={server}",) if server else ()),
            f"--hostname={node.name}",
            "--accept-dns=false",
            "--accept-routes=false",
            "--netfilter-mode=off",
        )
        join = Exec(("sh", "-c", JOIN, "sh", *options), stdin=self._key(), timeout=2 * JOIN_S + 15)
        return Object(login_of(node), STATUS, _not_logged_in, (*self._find_headscale(), join), settle=20)

    def _find_headscale(self) -> tuple[Exec, ...]:
        """The name of the lab's control plane is needed before the addresses for the whole file are known."""
        if not self.context.platform.world:
            return ()
        line = f"{headscale.world_address(self.context)} {HOSTNAME}"
        return (Exec(("sh", "-c", f"grep -qxF '{line}' {HOSTS} 2>/dev/null || echo '{line}' >> {HOSTS}")),)

    def _key(self) -> Deferred:
        world = self.context.platform.world
        if world is None:
            return Deferred("the tailnet gives a key", {}, lambda _answers: self._tailnet.key)
        return Deferred(
            "headscale runs",
            {world.name: headscale.join_key_request(self.context.platform.settings.tailnet.tag)},
            lambda answers: _key_of(answers.get(world.name, NO_ANSWER)),
        )

    @property
    def _cidr(self) -> IPv4Network:
        return self.context.platform.settings.tailnet.cidr

    @cached_property
    def _tailnet(self) -> ControlPlane:
        """The real tailnet, which gives one key for all nodes."""
        from tercet.tailnet.control_plane import ControlPlane  # noqa: PLC0415 - an HTTP client is slow to import

        return ControlPlane(self.context.platform.settings.tailnet)

    @cached_property
    def _authority(self) -> tuple[File, ...]:
        """The certificate of the control server's authority, if nodes do not know it already."""
        if self.context.platform.world:
            return (File(LAB_CA, self.context.secrets.pair(AUTHORITY).certificate.encode()),)
        ca = self.context.platform.settings.tailnet.ca
        if ca is None:
            return ()
        try:
            return (File(TAILNET_CA, ca.read_bytes()),)
        except OSError as error:
            raise TercetError(f"expected a certificate in {ca}, found {error.strerror}: see `tailnet.ca`") from None

    def _address_needs(self) -> dict[str, Request]:
        return {node.name: STATUS for node in self.context.platform.nodes}

    def _hosts(self, answers: Mapping[str, Answer]) -> bytes:
        lines = ["# Written by tercet: the members of the tailnet.", "127.0.0.1 localhost", "::1 localhost"]
        if self.context.platform.world:
            lines.append(f"{headscale.world_address(self.context)} {HOSTNAME}")
        lines += (f"{address} {name}" for name, address in self.addresses(answers).items())
        return ("\n".join(lines) + "\n").encode()

    def _policy(self, answers: Mapping[str, Answer]) -> bytes:
        return as_json(policy(self.context.platform, self.addresses(answers)))

    def addresses(self, answers: Mapping[str, Answer]) -> dict[str, str]:
        """The addresses of all nodes by name. A node that reports something else is left out, and this phase's gate
        names it. The others continue without it. Raises LookupError while a node has no address.
        """
        found = dict[str, str]()
        for name in self._address_needs():
            if name not in answers:
                found[name] = _known_address(name, answers, self._cidr)
            elif claims(answers[name]):
                found[name] = address_of(answers[name], self._cidr)
            else:
                raise LookupError(f"{name} has no tailnet address yet")
        return {name: address for name, address in found.items() if address}

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {} if node.role is Role.WORLD else {"tailscale": STATUS}

    def healthy(self) -> Iterable[Condition]:
        names = [node.name for node in self.context.platform.nodes]
        units = tuple((name, UNIT) for name in names)
        yield Condition("tailnet: every node sees every other node", _complete(names, self._cidr), units)


def login_of(node: Node) -> str:
    """The name of the node's login among objects."""
    return f"tailnet login of {node.name}"


def _not_logged_in(answer: Answer) -> str | None:
    state = (answer.json() or {}).get("BackendState", answer.why())
    return None if state == "Running" else f"not logged in ({state})"


def _key_of(answer: Answer) -> bytes:
    key = answer.text.strip()
    if not answer.ok or not key or " " in key:
        raise LookupError(f"headscale gave no key: {answer.error or 'status ' + str(answer.status)}")
    return key.encode()


def _known_address(name: str, answers: Mapping[str, Answer], cidr: IPv4Network) -> str:
    """The tailnet address that all other nodes have for a node that cannot be reached. Raises LookupError."""
    known = {address for answer in answers.values() for address in _addresses_of_peer(answer, name, cidr)}
    if len(known) != 1:
        found = f"know {', '.join(sorted(known))}" if known else "do not know it"
        raise LookupError(f"{name} cannot be reached, and its address is unknown: the other nodes {found}")
    return known.pop()


def peers_of(answer: Answer) -> dict[str, dict[str, Any]]:
    """Peers by hostname from `tailscale status --json`; empty if tailscaled did not answer."""
    peers = (answer.json() or {}).get("Peer") or {}
    return {str(peer.get("HostName")): peer for peer in peers.values()}


def address_of(answer: Answer, cidr: IPv4Network) -> str:
    """The node's own tailnet address from `tailscale status --json`; empty if there is none."""
    return next((claim for claim in claims(answer) if _is_within(claim, cidr)), "")


def _addresses_of_peer(answer: Answer, name: str, cidr: IPv4Network) -> set[str]:
    """The addresses that a node has for the peers of that hostname: two if an old entry was not removed."""
    peers = ((answer.json() or {}).get("Peer") or {}).values()
    claims = {str(claim) for peer in peers if peer.get("HostName") == name for claim in peer.get("TailscaleIPs") or ()}
    return {claim for claim in claims if _is_within(claim, cidr)}


def _is_within(claim: str, cidr: IPv4Network) -> bool:
    with suppress(ValueError):
        return IPv4Address(claim) in cidr
    return False


def claims(answer: Answer) -> list[str]:
    """Every address that the node reports. It may report anything."""
    status = answer.json()
    claims = status.get("TailscaleIPs") if isinstance(status, dict) else None
    return [str(claim) for claim in claims] if isinstance(claims, list) else []


def _complete(names: list[str], cidr: IPv4Network) -> Callable[[Readings], State]:
    def check(readings: Readings) -> State:
        present = readings.present(names)
        for name in present:
            answer = readings.get(name, "tailscale")
            if not answer.ok:
                return Waiting(f"{name}: {answer.why()}")
            if problem := _not_logged_in(answer):
                return Waiting(f"{name}: {problem}")
            if claims(answer) and not address_of(answer, cidr):
                return Waiting(f"{name} claims {claims(answer)}: expected an IPv4 address within {cidr}")
            missing = sorted(set(present) - {name} - set(peers_of(answer)))
            if missing:
                return Waiting(f"{name} does not see {', '.join(missing)}")
        return Passing(f"{len(present)} nodes")

    return check
