"""The proxy's declaration: ports, secrets, versions, sources, log lines, its part of `status`, processes for drills."""

from __future__ import annotations

from tercet.components.proxy.journal import JOURNALS
from tercet.inventory.accounts import Account
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Cost, Process
from tercet.inventory.generated import Password
from tercet.inventory.openings import Use
from tercet.inventory.platform import Role
from tercet.inventory.shapes import PgcatSource, Port, Source, Version

# Of PgCat's own user, who may look at its pools.
ADMIN_PASSWORD = Password("proxy_admin", live=True)
USER = "consul-template"
UNITS = {"pgcat": "pgcat.service", "pgpool": "pgpool2.service"}


class ProxyPorts(Model):
    proxy: Port = 5432
    """Where applications connect, on localhost of each apps node."""


class ProxyVersions(Model):
    consul_template: Version = "0.42.1"
    pgcat: Version = "5b03881"
    """A commit of PgCat's main branch: its newest tag lacks the fixes of the routing."""


class ProxySources(Model):
    consul_template: Source = "auto"
    pgcat: PgcatSource = "auto"
    """PgCat is published as an OCI image alone; `auto` means that image."""


DECLARATION = ComponentDeclaration(
    components=("component:Proxy",),
    programs=("programs:CONSUL_TEMPLATE", "programs:PGCAT"),
    versions=ProxyVersions,
    sources=ProxySources,
    ports=ProxyPorts,
    secrets=(ADMIN_PASSWORD,),
    journals=JOURNALS,
    processes=(
        Process("proxy", "", (Role.APPS,), (Cost.APPLICATIONS,), UNITS),
        Process("consul-template", "consul-template.service", (Role.APPS,), (Cost.PRIMARY,)),
    ),
    additions=("postgresql:CONNECTIONS", "rights:RIGHTS"),
    status=("status:ROUTES",),
    accounts=(Account(USER, (Role.APPS,)),),
    uses=(Use("proxy"), Use("dcs_http", USER)),
    listens=(Role.APPS,),
)
