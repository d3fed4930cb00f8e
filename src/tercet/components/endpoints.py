"""The endpoints of every HTTP API of the platform, as the calling node reaches them. No other module makes any.

All use TLS. The agents of Consul and Nomad are called on their own node, through the loopback. Patroni listens on the
tailnet.
"""

from __future__ import annotations

from base64 import b64encode

from tercet.components.consul import tokens
from tercet.components.consul.declaration import ConsulPorts
from tercet.components.consul.tls import FOLDER as CONSUL_TLS
from tercet.components.dcs.declaration import DcsPorts
from tercet.components.mutual_tls import LOOPBACK, Folder
from tercet.components.nomad import tokens as nomad_tokens
from tercet.components.nomad.declaration import NomadPorts
from tercet.components.nomad.tls import FOLDER as NOMAD_TLS
from tercet.components.patroni.declaration import API_PASSWORD, PatroniPorts
from tercet.components.patroni.tls import FOLDER as POSTGRESQL_TLS
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets
from tercet.nodeside.endpoint import Endpoint

PATRONI_USER = "patroni"


def consul(platform: Platform, secrets: Secrets | None = None) -> Endpoint:
    """The node's agent in the datacenter of its site. A request has the rights of the node; with `secrets`, it may do
    everything.
    """
    port = platform.settings.ports.of(ConsulPorts).consul_http
    return _agent(port, CONSUL_TLS, tokens.management(secrets) if secrets else "")


def consul_agent(platform: Platform, node: str, secrets: Secrets) -> Endpoint:
    """The agent of that node in the datacenter of its site, for questions about the agent and its members, and for
    joins. They are answered even if no server is.
    """
    return _agent(platform.settings.ports.of(ConsulPorts).consul_http, CONSUL_TLS, tokens.of_agent(secrets, node))


def dcs(platform: Platform, secrets: Secrets | None = None) -> Endpoint:
    """The same as `consul` for the node's agent in `dcs`."""
    token = tokens.management(secrets) if secrets else ""
    return _agent(platform.settings.ports.of(DcsPorts).dcs_http, CONSUL_TLS, token)


def dcs_agent(platform: Platform, node: str, secrets: Secrets) -> Endpoint:
    """The same as `consul_agent` for the node's agent in `dcs`."""
    return _agent(platform.settings.ports.of(DcsPorts).dcs_http, CONSUL_TLS, tokens.of_agent(secrets, node))


def nomad(platform: Platform, secrets: Secrets | None = None) -> Endpoint:
    """The node's Nomad agent. Control and apps nodes have one. With `secrets`, a request may do everything."""
    token = nomad_tokens.management(secrets) if secrets else ""
    return _agent(platform.settings.ports.of(NomadPorts).nomad_http, NOMAD_TLS, token)


def patroni(platform: Platform, node: str, secrets: Secrets | None = None) -> Endpoint:
    """Patroni's REST API on that node, for a caller on a database node; with `secrets`, also for calls that change
    something.
    """
    at = Endpoint(node, platform.settings.ports.of(PatroniPorts).patroni, "https", POSTGRESQL_TLS.ca)
    if secrets is None:
        return at
    credentials = b64encode(f"{PATRONI_USER}:{secrets.password(API_PASSWORD)}".encode()).decode()
    return at._replace(certificate=POSTGRESQL_TLS.node, authorization=f"Basic {credentials}")


def _agent(port: int, tls: Folder, token: str) -> Endpoint:
    return Endpoint(LOOPBACK, port, "https", tls.ca, authorization=f"Bearer {token}" if token else "")
