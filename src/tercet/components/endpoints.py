"""The endpoints of every HTTP API of the platform, as the calling node reaches them. No other module makes any.

The agents of Consul and Nomad are called on their own node, through the loopback. Patroni listens on the tailnet.
"""

from __future__ import annotations

from base64 import b64encode

from tercet.components.consul.declaration import ConsulPorts
from tercet.components.dcs.declaration import DcsPorts
from tercet.components.nomad.declaration import NomadPorts
from tercet.components.patroni.declaration import API_PASSWORD, PatroniPorts
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets
from tercet.nodeside.endpoint import Endpoint

LOOPBACK = "127.0.0.1"
PATRONI_USER = "patroni"


def consul(platform: Platform) -> Endpoint:
    """The node's agent in the datacenter of its site."""
    return Endpoint(LOOPBACK, platform.settings.ports.of(ConsulPorts).consul_http)


def dcs(platform: Platform) -> Endpoint:
    """The node's agent in `dcs`."""
    return Endpoint(LOOPBACK, platform.settings.ports.of(DcsPorts).dcs_http)


def nomad(platform: Platform) -> Endpoint:
    """The node's Nomad agent. Control and apps nodes have one."""
    return Endpoint(LOOPBACK, platform.settings.ports.of(NomadPorts).nomad_http)


def patroni(platform: Platform, node: str, secrets: Secrets | None = None) -> Endpoint:
    """Patroni's REST API on that node; with `secrets`, also for calls that change something."""
    authorization = ""
    if secrets is not None:
        credentials = b64encode(f"{PATRONI_USER}:{secrets.password(API_PASSWORD)}".encode()).decode()
        authorization = f"Basic {credentials}"
    return Endpoint(node, platform.settings.ports.of(PatroniPorts).patroni, authorization=authorization)
