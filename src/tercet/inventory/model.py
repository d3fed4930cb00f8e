"""The inventory as the operator writes it: every field, its default, and the reason for the default.

This has only types and limits of single fields. Checks between fields are in checks.py, and the line numbers of errors
come from load.py. Times are in seconds and sizes in bytes, unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, create_model
from pydantic_core import PydanticUndefined

from tercet.inventory import components
from tercet.inventory.base import Model
from tercet.inventory.credentials import Credential
from tercet.inventory.providers import M, ProviderDeclaration, declaration, declarations
from tercet.inventory.shapes import (
    Hostname,
    Identifier,
    Line,
    PlatformName,
    Port,
    Recipient,
    Seconds,
    Setting,
    SiteName,
    Subnet,
    Tag,
    Url,
)

P = TypeVar("P", bound=Model)


class SiteModel(Model):
    """One physical server with three containers: one Consul and Nomad datacenter."""

    name: Annotated[SiteName, Field(examples=["sib-01"])]
    """Name of the site; its containers are consul-nomad-NAME, apps-NAME and db-NAME."""
    datacenter: Annotated[Hostname, Field(examples=["dc1"])]
    """Consul and Nomad datacenter of this site."""
    place: Line = ""
    """Its location, only for people."""
    database: Literal["primary", "standby"] = "standby"
    """Role of its database node when the platform is created. After that, Patroni decides."""

    def keys_of(self, keys: type[P]) -> P:
        """The keys that a provider adds."""
        if not isinstance(self, keys):
            raise TypeError(f"{keys.__name__} is of no provider in inventory/providers.py")
        return self

    def of(self, provider: ProviderDeclaration[M]) -> M:
        """The settings of this site for a provider."""
        found: M = getattr(self, provider.name)
        return found


class LinkModel(Model):
    """The link between two sites."""

    between: Annotated[tuple[Hostname, Hostname], Field(examples=[["sib-01", "fsn-01"]])]
    """The two sites."""
    latency_ms: Annotated[float, Field(ge=0, le=1000, examples=[15])]
    """Delay in one direction, in milliseconds. The round trip takes twice as long."""


class SourcesModel(Model):
    """The source of each component's binaries. `auto` tries the vendor's release, then the Go module.

    `path:PLACE` uses an existing file or directory of binaries, relative to the inventory.
    """


class VersionsModel(Model):
    """The installed versions. The platform is tested with the defaults."""

    debian: Literal["trixie"] = "trixie"
    """The system of every container. It provides PostgreSQL, Patroni and pgpool-II."""
    postgresql: Literal[17] = 17
    """PostgreSQL's major version: the one of this Debian."""


class PortsModel(Model):
    """Every port on which a node listens. Two agents of Consul share a container, so `dcs` has separate ports."""

    def of(self, ports: type[P]) -> P:
        """The ports that a component declares."""
        if not isinstance(self, ports):
            raise TypeError(f"{ports.__name__} is of no component in inventory/components.py")
        return self


class PostgresqlModel(Model):
    """The database cluster, and the application's user and database."""

    service: Hostname = "proposalsapp"
    """Name of the cluster: Patroni's scope and the Consul service that carries the tags primary and replica."""
    database: Identifier = "proposalsapp"
    """The application's database, which is created with its user."""
    user: Identifier = "proposalsapp"
    """The application's user. It owns its database and is not a superuser. Its password is generated."""
    parameters: dict[str, Setting] = Field(default={})
    """PostgreSQL parameters that add to or override tercet's own; set through Patroni's dynamic configuration."""


class PatroniModel(Model):
    """Patroni's dynamic configuration. Times that are not given come from the timing profile."""

    ttl: int | None = None
    """Seconds until a silent leader's key may expire. At least 20, because Consul ends a session at twice its TTL,
    which is at least 10 s. Default: from the timing profile.
    """
    loop_wait: Annotated[int, Field(ge=1)] | None = None
    """Seconds between two cycles of Patroni. Default: from the timing profile."""
    retry_timeout: Annotated[int, Field(ge=3)] | None = None
    """Seconds for which a failing DCS or PostgreSQL call is retried; Patroni's minimum is 3. Default: from the
    profile.
    """
    maximum_lag_on_failover: Annotated[int, Field(ge=0)] = 1048576
    """The greatest lag in bytes with which a standby may be promoted."""
    synchronous_node_count: Annotated[int, Field(ge=1)] = 1
    """The number of standbys that must have a commit before it is acknowledged."""


class AsideModel(Model):
    """How long database files are kept that could not be rewound and were moved aside."""

    keep_days: Annotated[int, Field(ge=1)] = 14
    """Days after which a database node removes them. With the default, a person who was away for two weeks still finds
    them.
    """
    min_free_percent: Annotated[int, Field(ge=0, le=90)] = 20
    """While less than this percentage of its disk is free, a database node removes them sooner, the oldest first. 0:
    never sooner.
    """


class SecretsModel(Model):
    """Who can read the file of generated secrets beside the inventory."""

    encrypt: bool = True
    """false: it is a plain file that only its owner may read."""
    recipients: Annotated[tuple[Recipient, ...], Field(examples=[["age1…", "ssh-ed25519 AAAA…"]])] = ()
    """The public keys of all operators, for age or SSH. By default, those who can read the file now; if it is not
    encrypted yet, the operator who runs `up` or `apply`.
    """


class FirewallModel(Model):
    """What others than the platform's nodes may use. By default, they reach nothing."""

    open: Annotated[tuple[Port, ...], Field(examples=[[80, 443]])] = ()
    """TCP ports on apps nodes that everybody may use who reaches a node, over its bridge or over the tailnet: those at
    which applications serve others.
    """


class TailnetModel(Model):
    """The network that carries all traffic between nodes."""

    login_server: Url | None = None
    """URL of the control server. The lab runs its own headscale; elsewhere, the default is Tailscale's."""
    ca: Path | None = None
    """PEM file of the authority that signed the login server's certificate, if the nodes do not know it."""
    auth_key: Credential | None = None
    """A key with which new nodes join: env:NAME, file:PATH or command:PROGRAM ARGUMENTS. Not for the lab."""
    api_key: Credential | None = None
    """A credential with which `up` makes a short-lived key each time, and `down` removes the nodes. For Tailscale: an
    OAuth client's secret (scopes auth_keys and devices:core, with the tag) or an API access token. For your own
    headscale: its API key.
    """
    tag: Tag = "tag:tercet"
    """Tag of every node in the tailnet."""
    cidr: Subnet = IPv4Network("100.64.0.0/10")
    """The tailnet's address range, which may connect to PostgreSQL."""


class BudgetsModel(Model):
    """The budgets of drills: how long writes (or what the name says) may be unavailable at surviving sites."""

    site_loss: Seconds = 10.0
    site_cut: Seconds = 10.0
    primary_loss: Seconds = 10.0
    postmaster_loss: Seconds = 5.0
    switchover: Seconds = 5.0
    healing: Seconds = 3.0
    reads: Seconds = 5.0
    reschedule: Seconds = 30.0
    """Until a dead site's Nomad allocations run elsewhere."""
    healthy: Seconds = 12.0
    """From the healing of a site that was frozen, cut off or flapping until the whole platform is healthy."""
    cold_start: Seconds = 60.0
    """From the start of all nodes to the first write through a proxy."""


class Inventory(Model):
    """One platform."""

    model_config = ConfigDict(defer_build=True)  # `inventory_model` is the one that is built

    platform: PlatformName = "tercet"
    """Name of the platform; several can run side by side."""
    provider: str
    """The provider of the containers."""
    proxy: Literal["auto", "pgcat", "pgpool"] = "auto"
    """auto: PgCat if it is available, otherwise pgpool-II."""
    timing: Literal["fast", "relaxed"] = "fast"
    """fast: failure detection in seconds, for links below 50 ms. relaxed: for slower or lossy links."""
    sites: Annotated[tuple[SiteModel, ...], Field(json_schema_extra={"minItems": 3})]
    """Three or more, an odd number, exactly one of them with `database: primary`."""
    lost_sites: tuple[SiteName, ...] = ()
    """Lost sites; the others work without them. `tercet recover` writes this key; see docs/recovery.md."""
    links: tuple[LinkModel, ...] = ()
    """The latency between sites. A pair that is not listed has none. Reads that leave a site go to the nearest other
    one, drills use the latency for predictions, and the lab delays packets by it.
    """
    versions: VersionsModel = VersionsModel()
    sources: SourcesModel = SourcesModel()
    ports: PortsModel = PortsModel()
    postgresql: PostgresqlModel = PostgresqlModel()
    patroni: PatroniModel = PatroniModel()
    aside: AsideModel = AsideModel()
    tailnet: TailnetModel = TailnetModel()
    firewall: FirewallModel = FirewallModel()
    secrets: SecretsModel = SecretsModel()
    budgets: BudgetsModel = BudgetsModel()
    cache: Path = Path("/var/cache/tercet")
    """Where images and component binaries are kept between runs."""

    def of(self, provider: ProviderDeclaration[M]) -> M:
        """The inventory's settings for a provider."""
        found: M = getattr(self, provider.name)
        return found

    @property
    def world(self) -> IPv4Network | None:
        """The network of the outside world that the provider makes; None if the real one is used."""
        chosen = declaration(self.provider)
        return chosen.world(self.of(chosen)) if chosen.world else None


def inventory_model() -> type[Inventory]:
    """The model of the whole inventory, with the names of all providers and the keys of all providers and
    components.
    """
    return _with_keys_of(declarations(), components.declarations())


@cache
def _with_keys_of(
    providers: tuple[ProviderDeclaration[Any], ...], parts: tuple[components.ComponentDeclaration, ...]
) -> type[Inventory]:
    beneath = "Settings of this site that differ from the inventory's `{}`."
    at_site = {each.name: _key(each, beneath.format(each.name)) for each in providers if each.per_site}
    site: Any = _with_fields_of(SiteModel, [each.site for each in providers if each.site], **at_site)
    above = "Settings for every site, unless its own `{}` says otherwise."
    keys = {each.name: _key(each, above.format(each.name) if each.per_site else None) for each in providers}
    names = tuple(each.name for each in providers)
    keys["provider"] = _narrowed("provider", Literal[names], names[0])
    keys["sites"] = _narrowed("sites", tuple[site, ...])
    keys["versions"] = _composed(VersionsModel, [each.versions for each in parts if each.versions])
    keys["sources"] = _composed(SourcesModel, [each.sources for each in parts if each.sources])
    keys["ports"] = _composed(PortsModel, [each.ports for each in parts if each.ports])
    return create_model("Inventory", __base__=Inventory, __doc__=Inventory.__doc__, **keys)


def _key(provider: ProviderDeclaration[Any], description: str | None) -> Any:
    return provider.settings, Field(default=provider.settings(), description=description)


def _composed(whole: type[Model], fragments: Sequence[type[Model]]) -> Any:
    """A key whose value has the fields of all fragments."""
    model = _with_fields_of(whole, fragments)
    return model, model()


def _with_fields_of(whole: type[Model], fragments: Sequence[type[Model]], **more: Any) -> type[Model]:
    """The model with the fields of all fragments, in their order, and the fields in `more`."""
    bases: Any = (*reversed(fragments), whole)  # pydantic takes the fields of the last base first
    model: type[Model] = create_model(whole.__name__, __base__=bases, __doc__=whole.__doc__, **more)
    return model


def _narrowed(name: str, annotation: Any, default: Any = PydanticUndefined) -> Any:
    """The inventory's field with a type and default that are known only when all providers are known."""
    field = copy(Inventory.model_fields[name])
    field.annotation = annotation
    field.default = default
    return annotation, field
