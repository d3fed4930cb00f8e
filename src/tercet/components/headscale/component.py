"""headscale with its DERP relay on the lab's `world`: the tailnet's control plane if there is no real one.

Invariant: nothing in the lab reaches out: no public DERP map, no update check, an own CA. The certificate is
issued for `headscale.lab` and comes from the secrets, so it never changes between runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tercet.components.context import Context
from tercet.components.headscale.declaration import CERTIFICATE, HOSTNAME
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import unit_file, unit_path
from tercet.components.text import as_yaml
from tercet.converge.component import Condition, Passing, Readings, Skipped, State, Waiting
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import Directory, File, Resource, Unit
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Role

USER = "tercet"
CONFIG = "/etc/headscale/config.yaml"
TLS_CERTIFICATE = "/etc/headscale/tls.crt"
TLS_KEY = "/etc/headscale/tls.key"
UNIT = "headscale.service"
SOCKET = "/run/headscale.sock"
HEADSCALE = "/usr/local/bin/headscale"


def world_address(context: Context) -> str:
    """The world's own address: .20 of its network (the lab provider gives it)."""
    network = context.platform.settings.world
    if network is None:
        raise ValueError("a real tailnet has no outside world of ours")
    return str(network.network_address + 20)


JOIN_KEY = text_of(__package__, "join-key.sh", HEADSCALE=HEADSCALE, USER=USER)


def join_key_request(tag: str) -> Exec:
    """Asks headscale for a key that is valid for at least five minutes. The answer is only the key."""
    return Exec(("sh", "-c", JOIN_KEY, "sh", tag), timeout=30)


MEMBERS = text_of(__package__, "members.sh", HEADSCALE=HEADSCALE)


def members_request(verb: Literal["expire", "delete"], nodes: Mapping[str, Iterable[str]]) -> Exec:
    """Makes the keys of these nodes expire, which logs them out, or removes the nodes. `nodes`: name → addresses."""
    words = (f"{name}={address}" for name, addresses in nodes.items() for address in sorted(addresses))
    return Exec(("sh", "-c", MEMBERS, "sh", verb, *words), timeout=30)


@dataclass(frozen=True, slots=True)
class Headscale:
    """The lab's tailnet control plane."""

    context: Context
    name: str = "headscale"
    after: tuple[str, ...] = ("fingerprint",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.WORLD:
            return
        tls = self.context.secrets.pair(CERTIFICATE)
        yield from self.context.program("headscale")
        yield Directory("/etc/headscale", mode=0o750)
        yield File(CONFIG, as_yaml(self._config()))
        yield File(TLS_CERTIFICATE, tls.certificate.encode())
        yield File(TLS_KEY, tls.key.encode(), mode=0o600, secret=True)
        yield File(
            unit_path(UNIT),
            unit_file(
                "Tailnet control plane of the lab",
                {
                    "ExecStart": f"{HEADSCALE} serve --config {CONFIG}",
                    "StateDirectory": "headscale",
                    "TimeoutStopSec": 3,
                },
                sandbox=Sandbox(capabilities=("CAP_NET_BIND_SERVICE",)),
            ),
        )
        links = tuple(program.link for program in self.context.program("headscale"))
        yield Unit(UNIT, restart_on=(CONFIG, TLS_CERTIFICATE, TLS_KEY, unit_path(UNIT), *links))

    def _config(self) -> dict[str, object]:
        return {
            "server_url": f"https://{HOSTNAME}:443",
            "listen_addr": "0.0.0.0:443",
            "metrics_listen_addr": "127.0.0.1:9090",
            "grpc_listen_addr": "127.0.0.1:50443",
            "noise": {"private_key_path": "/var/lib/headscale/noise_private.key"},
            "prefixes": {"v4": str(self.context.platform.settings.tailnet.cidr), "allocation": "sequential"},
            "derp": {
                "server": {
                    "enabled": True,
                    "region_id": 999,
                    "region_code": "lab",
                    "region_name": "lab",
                    "stun_listen_addr": "0.0.0.0:3478",
                    "private_key_path": "/var/lib/headscale/derp.key",
                    "ipv4": world_address(self.context),
                    "automatically_add_embedded_derp_region": True,
                },
                "urls": [],
                "paths": [],
                "auto_update_enabled": False,
            },
            "disable_check_updates": True,
            "database": {"type": "sqlite", "sqlite": {"path": "/var/lib/headscale/db.sqlite"}},
            "tls_cert_path": TLS_CERTIFICATE,
            "tls_key_path": TLS_KEY,
            "dns": {"magic_dns": False, "override_local_dns": False, "base_domain": "ts.lab"},
            "unix_socket": SOCKET,
            "policy": {"mode": "database"},  # see policy.py
            "log": {"level": "info"},
        }

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is not Role.WORLD:
            return {}
        # The certificate is for its name, which is only in the nodes' /etc/hosts.
        return {"headscale": Exec(("curl", "-sfk", "-m", "3", "https://127.0.0.1/health"))}

    def healthy(self) -> Iterable[Condition]:
        for node in self.context.platform.of(Role.WORLD):
            yield Condition("tailnet: the control plane answers", _answers(node.name), ((node.name, UNIT),))


def _answers(world: str) -> Callable[[Readings], State]:
    def check(readings: Readings) -> State:
        if world in readings.away:
            return Skipped(f"{world} cannot be reached")
        answer = readings.get(world, "headscale")
        return Passing() if answer.ok else Waiting(answer.why())

    return check
