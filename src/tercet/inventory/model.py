"""The inventory as the operator writes it: every field, its default, and the reason for the default.

Only shapes and single-field limits live here; what must hold between fields is in checks.py, and the line
numbers of errors come from load.py. Times are seconds, sizes MiB, unless the name says otherwise.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Hostname = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Setting = str | int | float | bool


class Model(BaseModel):
    """Unknown keys are refused, values are frozen, every attribute's docstring reaches the JSON Schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SiteModel(Model):
    name: Hostname
    """Name of the site; its containers are consul-nomad-NAME, apps-NAME and db-NAME."""
    datacenter: Hostname
    """Consul and Nomad datacenter of this site."""
    place: str = ""
    """Where it stands, for people."""
    database: Literal["primary", "standby"] = "standby"
    """Role of its database node when the platform is created; after that Patroni decides."""
    subnet: IPv4Network | None = None
    """Lab only: network of this site. Default: 10.77.N.0/24, N counted from 1."""


class LinkModel(Model):
    between: tuple[Hostname, Hostname]
    """The two sites."""
    latency_ms: Annotated[float, Field(ge=0, le=1000)]
    """Delay one way, in milliseconds; the round trip takes twice this."""


class LabModel(Model):
    world: IPv4Network = IPv4Network("10.77.250.0/24")
    """Network of the outside world (headscale and DERP)."""
    links: tuple[LinkModel, ...] = ()
    """Latency between sites; a pair that is not listed has none."""


class SourcesModel(Model):
    """Where a component's binary comes from: `auto` tries official, then go-module."""

    consul: str = "auto"
    nomad: str = "auto"
    consul_template: str = "auto"
    tailscale: str = "auto"
    headscale: str = "auto"
    pgcat: str = "auto"


class VersionsModel(Model):
    debian: Literal["trixie"] = "trixie"
    postgresql: Literal[17] = 17
    consul: str = "1.22.7"
    nomad: str = "1.11.3"
    consul_template: str = "0.42.1"
    tailscale: str = "1.98.10"
    headscale: str = "0.29.2"
    pgcat: str = "5b03881"


class PortsModel(Model):
    """Every port that a node listens on. Two agents of Consul share a container, hence the dcs_ ones."""

    postgresql: Port = 5432
    proxy: Port = 5432
    """Where applications connect, on localhost of each apps node."""
    patroni: Port = 8008
    consul_http: Port = 8500
    consul_dns: Port = 8600
    consul_serf_lan: Port = 8301
    consul_serf_wan: Port = 8302
    consul_server: Port = 8300
    dcs_http: Port = 9500
    dcs_dns: Port = 9600
    dcs_serf_lan: Port = 9301
    dcs_serf_wan: Port = 9302
    dcs_server: Port = 9300
    nomad_http: Port = 4646
    nomad_rpc: Port = 4647
    nomad_serf: Port = 4648
    tailscale: Port = 41641


class PostgresqlModel(Model):
    service: Hostname = "proposalsapp"
    """Name of the cluster: Patroni's scope and the Consul service that carries the tags primary and replica."""
    database: Identifier = "proposalsapp"
    """The application's database, made with its user."""
    user: Identifier = "proposalsapp"
    """The application's user: owns its database, no superuser. Its password is generated."""
    parameters: dict[str, Setting] = {}
    """PostgreSQL parameters beside and above tercet's own; set through Patroni's dynamic configuration."""


class PatroniModel(Model):
    ttl: int | None = None
    """Seconds until a silent leader's key may go. At least 20: Consul expires a session at 2 x its TTL, floor 10 s.
    Default: of the timing profile."""
    loop_wait: int | None = None
    """Seconds between two looks at the cluster. Default: of the timing profile."""
    retry_timeout: int | None = None
    """Seconds that a failing DCS or PostgreSQL call is retried. Default: of the timing profile."""
    maximum_lag_on_failover: int = 1048576
    """Bytes that a standby may lag and still be promoted."""
    synchronous_node_count: Annotated[int, Field(ge=1)] = 1
    """How many standbys must have a commit before it is acknowledged."""


class TailnetModel(Model):
    login_server: str | None = None
    """URL of the control server; the lab runs its own headscale, elsewhere the default is Tailscale's."""
    tag: Annotated[str, Field(pattern=r"^tag:[a-z0-9-]+$")] = "tag:tercet"
    """Tag of every node in the tailnet."""
    cidr: IPv4Network = IPv4Network("100.64.0.0/10")
    """The tailnet's address range: who may talk to PostgreSQL."""


class BudgetsModel(Model):
    """What a drill is judged by: seconds of write unavailability on surviving sites."""

    site_loss: float = 10.0
    site_cut: float = 10.0
    primary_loss: float = 10.0
    postmaster_loss: float = 5.0
    switchover: float = 5.0
    healing: float = 3.0
    reads: float = 5.0
    reschedule: float = 30.0
    cold_start: float = 60.0


class Inventory(Model):
    """One platform."""

    platform: Hostname = "tercet"
    """Name of the platform; several can run side by side."""
    provider: Literal["lab", "proxmox"] = "lab"
    """Where the containers are made."""
    proxy: Literal["auto", "pgcat", "pgpool"] = "auto"
    """auto: PgCat where it can be had, else pgpool-II."""
    timing: Literal["fast", "relaxed"] = "fast"
    """fast: failure detection in seconds, for links below 50 ms; relaxed: for slower or lossy links."""
    sites: Annotated[tuple[SiteModel, ...], Field(min_length=1)]
    lab: LabModel = LabModel()
    versions: VersionsModel = VersionsModel()
    sources: SourcesModel = SourcesModel()
    ports: PortsModel = PortsModel()
    postgresql: PostgresqlModel = PostgresqlModel()
    patroni: PatroniModel = PatroniModel()
    tailnet: TailnetModel = TailnetModel()
    budgets: BudgetsModel = BudgetsModel()
    cache: Path = Path("/var/cache/tercet")
    """Where images and component binaries are kept between runs."""
