"""The Proxmox servers of an inventory: how they are reached, and the size and network of their containers.

The same keys may be used in two places: under the inventory's `proxmox` for all sites, and under a site's `proxmox` for
that site, where they take precedence. `host_of` merges the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, WithJsonSchema

from tercet.inventory import credentials
from tercet.inventory.base import Model
from tercet.inventory.credentials import Credential
from tercet.inventory.platform import Role
from tercet.inventory.problems import Finding, Location
from tercet.inventory.providers import Capability, ProviderDeclaration
from tercet.inventory.shapes import Port, Url, matching, wrong
from tercet.remote.login import SshLogin

if TYPE_CHECKING:
    from tercet.inventory.model import Inventory

API_PORT = 8006
MIB_PER_GIB = 1024
_M = TypeVar("_M", bound=BaseModel)


def _fingerprint(value: str) -> str:
    digits = re.sub(r"[\s:]", "", value).upper()
    if not re.fullmatch(r"[0-9A-F]{64}", digits):
        raise wrong("a SHA-256 fingerprint: 32 bytes in hexadecimal", "what the server says to `pvenode cert info`")
    return ":".join(digits[i : i + 2] for i in range(0, 64, 2))


def _mebibytes(value: object) -> int:
    """Sizes have a unit: 512M, 8G, 1T."""
    expected = "a size with its unit, such as 512M, 8G or 1T"
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong(expected, f"{value}G" if value < MIB_PER_GIB else f"{value}M")
    found = re.fullmatch(r"([1-9]\d{0,8})([MGT])", value.strip().upper()) if isinstance(value, str) else None
    if not found:
        raise wrong(expected)
    return int(found[1]) * {"M": 1, "G": MIB_PER_GIB, "T": MIB_PER_GIB**2}[found[2]]


def _interface(value: object) -> IPv4Interface | None:
    """An address with its prefix length; None for `dhcp`."""
    if value == "dhcp":
        return None
    if isinstance(value, str) and "/" in value:
        try:
            return IPv4Interface(value)
        except ValueError:
            pass
    raise wrong("dhcp, or an IPv4 address with its prefix length, such as 10.0.0.11/24")


def _address(value: object) -> IPv4Address:
    try:
        if isinstance(value, str):
            return IPv4Address(value)
    except ValueError:
        pass
    raise wrong("an IPv4 address, such as 10.0.0.1")


_SIZE = {"type": "string", "pattern": r"^[1-9]\d*[MGTmgt]$"}
Mebibytes = Annotated[int, PlainValidator(_mebibytes), WithJsonSchema({**_SIZE, "examples": ["8G"]})]
Address = Annotated[
    IPv4Interface | None,
    PlainValidator(_interface),
    WithJsonSchema({"type": "string", "pattern": r"^(dhcp|\d+\.\d+\.\d+\.\d+/\d+)$"}),
]
Gateway = Annotated[IPv4Address, PlainValidator(_address), WithJsonSchema({"type": "string", "format": "ipv4"})]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
_HOST_KEY = matching(r"SHA256:[A-Za-z0-9+/]{43}", "a host key's fingerprint as `ssh-keygen -l` prints it")
HostKey = Annotated[str, _HOST_KEY]
Login = Annotated[
    str,
    matching(
        r"[^\s:/@!]+@[A-Za-z][A-Za-z0-9._-]*(![A-Za-z][A-Za-z0-9._-]*)?",
        "USER@REALM!TOKEN for an API token, or USER@REALM for a password",
    ),
]
Name = Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name as Proxmox writes it")]
VmId = Annotated[int, Field(ge=100, le=999999999)]


class SshModel(Model):
    """SSH to the Proxmox host, for what the API cannot do: `pct exec`, and passing in /dev/net/tun with a token."""

    host: str | None = None
    """Name or address. Default: the host in `api`; if `api` serves a cluster, the node's own."""
    port: Port = 22
    user: str = "root"
    """root, or a user who may run every command with `sudo -n`."""
    key: Path | None = None
    """Private key without a passphrase. Default: the SSH agent's keys, then those in ~/.ssh."""
    host_key: HostKey | None = None
    """Fingerprint of the host's key. Default: the first key that the host shows is pinned and reported."""


class SizeModel(Model):
    """The size of one container."""

    cores: Annotated[int, Field(ge=1, le=8192)] | None = None
    memory: Mebibytes | None = None
    disk: Mebibytes | None = None
    """Root disk, in whole gigabytes. It can be enlarged later, but never shrunk."""


class SizesModel(Model):
    """The sizes of the containers, by role."""

    consul_nomad: SizeModel = SizeModel()
    apps: SizeModel = SizeModel()
    db: SizeModel = SizeModel()


class AddressesModel(Model):
    """The containers' addresses on the bridge. Traffic between sites always goes through Tailscale."""

    consul_nomad: Address = None
    apps: Address = None
    db: Address = None


class VmIdsModel(Model):
    """VMIDs for new containers. Existing containers are found by their tags."""

    consul_nomad: VmId | None = None
    apps: VmId | None = None
    db: VmId | None = None


class ProxmoxModel(Model):
    """A Proxmox server and the three containers on it."""

    api: Annotated[Url, Field(examples=["https://pve-sib-01.example.org:8006"])] | None = None
    """Address of the API."""
    node: Name | None = None
    """Name of the Proxmox node for the containers. Default: the server itself, if it is not in a cluster."""
    fingerprint: Fingerprint | None = None
    """SHA-256 of the only certificate that is accepted from the API. Default: any certificate that `ca` signed."""
    ca: Path | None = None
    """PEM file of the certificate authority that signed the API's certificate. Default: the system's authorities."""
    login: Annotated[Login, Field(examples=["tercet@pve!up"])] | None = None
    """USER@REALM!TOKEN for an API token, USER@REALM for a password."""
    secret: Annotated[Credential, Field(examples=["env:PVE_SECRET"])] | None = None
    """Where the token's secret or the password comes from: env:NAME, file:PATH or command:PROGRAM ARGUMENTS."""
    ssh: SshModel = SshModel()
    reach: Literal["host", "tailnet"] = "host"
    """host: every command goes through the server (`pct exec`). tailnet: commands go to the node itself
    by SSH over the tailnet, once it answers there; this machine must then be in the tailnet."""
    storage: Name = "local-lvm"
    """Storage of new containers' disks; its content types include rootdir."""
    template_storage: Name = "local"
    """Storage that the image is uploaded to; its content types include vztmpl."""
    bridge: Name = "vmbr0"
    """Bridge of new containers' network interface."""
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    """VLAN tag on the bridge. Default: untagged."""
    addresses: AddressesModel = AddressesModel()
    gateway: Gateway | None = None
    """Router of the static addresses."""
    vmids: VmIdsModel = VmIdsModel()
    sizes: SizesModel = SizesModel()


@dataclass(frozen=True, slots=True)
class Size:
    """Memory in MiB, disk in GiB."""

    cores: int
    memory: int
    disk: int


SIZES = {Role.CONTROL: Size(2, 2048, 16), Role.APPS: Size(4, 4096, 32), Role.DB: Size(4, 8192, 64)}
"""The defaults. Consul and Nomad servers use about 300 MB; the rest is for the operator's workload."""


@dataclass(frozen=True, slots=True)
class ProxmoxHost:
    """The Proxmox server of one site, with all settings. `node` is None if the server is not in a cluster."""

    site: str
    api: str
    node: str | None
    fingerprint: str | None
    ca: Path | None
    login: str
    secret: str
    ssh: SshLogin
    ssh_given: bool  # the inventory has `ssh.host`
    reach: Literal["host", "tailnet"]
    storage: str
    template_storage: str
    bridge: str
    vlan: int | None
    addresses: dict[Role, IPv4Interface | None]
    gateway: IPv4Address | None
    vmids: dict[Role, int | None]
    sizes: dict[Role, Size]


def host_of(inventory: Inventory, site: str) -> ProxmoxHost:
    """The server of a site. The inventory must have been checked."""
    index = next(i for i, each in enumerate(inventory.sites) if each.name == site)
    model = merged(inventory, index)
    if model.api is None or model.login is None or model.secret is None:
        raise ValueError(f"the inventory was not checked: {site} lacks api, login or secret")
    return ProxmoxHost(
        site=site,
        api=api_url(model.api),
        node=model.node,
        fingerprint=model.fingerprint,
        ca=model.ca,
        login=model.login,
        secret=model.secret,
        ssh=SshLogin(
            model.ssh.host or urlsplit(model.api).hostname or "",
            model.ssh.port,
            model.ssh.user,
            model.ssh.key,
            model.ssh.host_key,
        ),
        ssh_given=model.ssh.host is not None,
        reach=model.reach,
        storage=model.storage,
        template_storage=model.template_storage,
        bridge=model.bridge,
        vlan=model.vlan,
        addresses=_by_role(model.addresses),
        gateway=model.gateway,
        vmids=_by_role(model.vmids),
        sizes={role: _size(role, given) for role, given in _by_role(model.sizes).items()},
    )


def merged(inventory: Inventory, index: int) -> ProxmoxModel:
    """The merged keys of a site. Its own take precedence over those for all sites."""
    return _over(inventory.of(DECLARATION), inventory.sites[index].of(DECLARATION))


def ssh_over_tailnet(inventory: Inventory, site: str) -> bool:
    """Whether the nodes of that site are reached by SSH over the tailnet (`reach`)."""
    names = [each.name for each in inventory.sites]
    return merged(inventory, names.index(site)).reach == "tailnet"


def api_url(text: str) -> str:
    """https://HOST:PORT, with Proxmox's port if none is given."""
    parts = urlsplit(text)
    host = parts.hostname or ""
    return f"https://{f'[{host}]' if ':' in host else host}:{parts.port or API_PORT}"


def resolved(model: ProxmoxModel, folder: Path) -> ProxmoxModel:
    """The model with absolute paths."""
    ssh = model.ssh
    if ssh.key is not None:
        ssh = ssh.model_copy(update={"key": folder / ssh.key.expanduser()})
    changes: dict[str, object] = {"ssh": ssh} if "ssh" in model.model_fields_set else {}
    if model.ca is not None:
        changes["ca"] = folder / model.ca.expanduser()
    if model.secret is not None:
        changes["secret"] = credentials.resolved(model.secret, folder)
    return model.model_copy(update=changes)


def _over(base: _M, own: _M) -> _M:
    """`own`, with the values of `base` for all keys that `own` does not set, recursively."""
    changes: dict[str, object] = {}
    for key in own.model_fields_set:
        value, beneath = getattr(own, key), getattr(base, key)
        changes[key] = _over(beneath, value) if isinstance(value, BaseModel) else value
    return base.model_copy(update=changes)


def _by_role(model: BaseModel) -> dict[Role, Any]:
    return {role: getattr(model, key) for role, key in KEYS.items()}


KEYS = {Role.CONTROL: "consul_nomad", Role.APPS: "apps", Role.DB: "db"}


def _size(role: Role, given: SizeModel) -> Size:
    default = SIZES[role]
    return Size(
        given.cores or default.cores,
        given.memory or default.memory,
        default.disk if given.disk is None else given.disk // MIB_PER_GIB,
    )


def check(inventory: Inventory) -> Iterator[Finding]:
    """Finds settings that no container can have."""
    places: list[tuple[Location, ProxmoxModel]] = [(("proxmox",), inventory.of(DECLARATION))]
    places += [(("sites", i, "proxmox"), site.of(DECLARATION)) for i, site in enumerate(inventory.sites)]
    for at, model in places:
        yield from _disks(at, model)


def check_chosen(inventory: Inventory) -> Iterator[Finding]:
    """Finds settings that are missing or contradict each other."""
    for index, site in enumerate(inventory.sites):
        yield from _missing(index, site.name, merged(inventory, index))
        yield from _gateway(index, merged(inventory, index))
    yield from _shared(inventory)


def _disks(at: Location, model: ProxmoxModel) -> Iterator[Finding]:
    for role, size in _by_role(model.sizes).items():
        if size.disk is not None and size.disk % MIB_PER_GIB:
            here = (*at, "sizes", KEYS[role], "disk")
            whole = -(-size.disk // MIB_PER_GIB)
            yield Finding(here, "a disk in whole gigabytes", f"{size.disk}M", f"disk: {whole}G")


_EXAMPLES = {
    "api": "api: https://pve-{site}.example.org:8006",
    "login": "login: tercet@pve!up",
    "secret": "secret: env:PVE_SECRET",
}


def _missing(index: int, site: str, model: ProxmoxModel) -> Iterator[Finding]:
    for key, example in _EXAMPLES.items():
        if getattr(model, key) is None:
            yield Finding(
                ("sites", index, "proxmox", key),
                f"the key proxmox.{key} of {site}, here or under `proxmox` for every site",
                "none",
                example.format(site=site),
                uses=(("proxmox", key),),
            )


def _gateway(index: int, model: ProxmoxModel) -> Iterator[Finding]:
    fixed = {role: each for role, each in _by_role(model.addresses).items() if each is not None}
    here: Location = ("sites", index, "proxmox", "gateway")
    for each in fixed.values():
        if model.gateway is not None and model.gateway not in each.network:
            expected = f"a gateway in the network of the addresses, {each.network}"
            yield Finding(here, expected, str(model.gateway), f"gateway: {next(each.network.hosts())}")
            return


def _shared(inventory: Inventory) -> Iterator[Finding]:
    """Finds addresses and VMIDs that two containers share."""
    vmids: dict[tuple[str, int], str] = {}
    addresses: dict[tuple[str, str, int | None, IPv4Address], str] = {}
    for index, site in enumerate(inventory.sites):
        model = merged(inventory, index)
        server = api_url(model.api or "")
        for role, key in KEYS.items():
            name = f"{role.value}-{site.name}"
            vmid, address = _by_role(model.vmids)[role], _by_role(model.addresses)[role]
            if vmid is not None and (other := vmids.setdefault((server, vmid), name)) != name:
                here: Location = ("sites", index, "proxmox", "vmids", key)
                found = f"{vmid}, which is {other}'s too"
                yield Finding(here, "a VMID that no other container has", found, f"{key}: {vmid + 1}")
            if address is None:
                continue
            place = (server, model.bridge, model.vlan, address.ip)
            if (other := addresses.setdefault(place, name)) != name:
                here = ("sites", index, "proxmox", "addresses", key)
                found = f"{address}, which is {other}'s too"
                yield Finding(here, "an address that no other container has", found, f"{key}: dhcp")


DECLARATION = ProviderDeclaration(
    name="proxmox",
    settings=ProxmoxModel,
    image="archive",
    per_site=True,
    faults=frozenset(Capability) - {Capability.LATENCY, Capability.SLOW_DISK},
    check=check,
    check_chosen=check_chosen,
    ssh=ssh_over_tailnet,
    resolved=resolved,
    credentials=lambda settings: {"API secret": settings.secret},
)
