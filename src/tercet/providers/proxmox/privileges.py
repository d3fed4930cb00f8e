"""The privileges that a login needs on Proxmox, and why. docs/production.md grants exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tercet.providers.proxmox.declaration import ProxmoxHost

GUESTS: Mapping[str, str] = {
    "VM.Allocate": "make and destroy containers",
    "VM.Audit": "find them and read their settings",
    "VM.PowerMgmt": "start and stop them",
    "VM.Config.CPU": "set their cores",
    "VM.Config.Disk": "give them disks, and enlarge them",
    "VM.Config.Memory": "set their memory",
    "VM.Config.Network": "set their network and host name",
    "VM.Config.Options": "set their tags and start order",
}


@dataclass(frozen=True, slots=True)
class Privilege:
    """A privilege on a path of Proxmox. `needed` is False if only `tercet doctor` uses it. `beneath` is True if it
    is used on paths below this one, such as a new container's.
    """

    path: str
    name: str
    why: str
    needed: bool = True
    beneath: bool = False


def privileges(host: ProxmoxHost, node: str) -> tuple[Privilege, ...]:
    """All privileges that a site's login must have."""
    bridge = f"/sdn/zones/localnetwork/{host.bridge}{'' if host.vlan is None else f'/{host.vlan}'}"
    return (
        *(Privilege("/vms", name, why, beneath=True) for name, why in GUESTS.items()),
        Privilege(f"/storage/{host.storage}", "Datastore.AllocateSpace", "put their disks there"),
        Privilege(f"/storage/{host.storage}", "Datastore.Audit", "see its room"),
        Privilege(f"/storage/{host.template_storage}", "Datastore.AllocateTemplate", "upload the image"),
        Privilege(f"/storage/{host.template_storage}", "Datastore.Audit", "see whether it is there"),
        Privilege(bridge, "SDN.Use", "connect containers to the bridge"),
        Privilege(f"/nodes/{node}", "Sys.Audit", "see the node's memory", needed=False),
    )


def holds(held: Mapping[str, Mapping[str, object]], privilege: Privilege) -> bool:
    """Whether `held`, an answer of /access/permissions, contains the privilege.

    Each path in the answer lists all its privileges, including inherited ones, so only the nearest path counts. The
    value of a privilege tells whether the paths below inherit it. (A path with the role NoAccess is not in the answer.)
    """
    path = privilege.path
    above = [at for at in held if at in ("/", path) or path.startswith(f"{at}/")]
    nearest = max(above, key=len, default=None)
    if nearest is None or privilege.name not in held[nearest]:
        return False
    here = nearest == path and not privilege.beneath
    return here or held[nearest][privilege.name] in (1, "1")
