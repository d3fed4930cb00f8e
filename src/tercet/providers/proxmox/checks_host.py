"""The checks that `tercet doctor` makes on a server over SSH. They change nothing, but pin the host key."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.providers.preflight import Check, failed, ok, skipped, warning
from tercet.providers.proxmox.site import SiteServer
from tercet.remote.ssh import SshServer

CONTAINER_PACKAGE = {8: (5, 3, 1), 9: (6, 0, 10)}  # the first versions of pve-container that accept all of Debian 13
SSH_TIMEOUT = 20.0  # seconds for a command

HOST_SCRIPT = text_of(__package__, "checks_host.sh")


@dataclass(frozen=True, slots=True)
class Looked:
    """Results of a server's checks that other checks compare between servers."""

    clock: float | None = None  # seconds ahead of this machine's clock


async def host_checks(site: SiteServer, checks: list[Check]) -> Looked:
    """Makes the checks on the server over SSH, and compares its clock with this machine's."""
    name = site.host.site
    try:
        server = await site.ssh()
        await server.connection()
        began = time.time()
        clock = await server.run("date +%s.%N", timeout=SSH_TIMEOUT)
        ended = time.time()
        done = await server.run(server.command(("bash", "-c", HOST_SCRIPT)), timeout=SSH_TIMEOUT)
    except TercetError as error:
        checks.append(failed(name, "SSH", str(error), "see above; without SSH no container can be reached"))
        return Looked()
    said = done.stdout.decode(errors="replace")
    facts = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    checks.extend(_host(site, server, facts, done.stderr.decode(errors="replace").strip()))
    try:
        return Looked(float(clock.stdout) - (began + ended) / 2)
    except ValueError:
        return Looked()


def _host(site: SiteServer, server: SshServer, facts: Mapping[str, str], complaint: str) -> Iterator[Check]:
    name, user = site.host.site, server.at.user
    if facts.get("user") != "0":
        found = complaint or f"commands run as user {facts.get('user', 'unknown')}"
        yield failed(name, "SSH", found, f"log in as root, or let {user} run all commands with `sudo -n`")
        return
    yield ok(name, "SSH", f"{user}@{server.at.host}, its host key is pinned in {server.keys.path}")
    if "pct" in facts:
        yield ok(name, "pct")
    else:
        yield failed(name, "pct", "there is no such command", "is this the Proxmox server? see `ssh.host`")
    if "tun" in facts:
        yield ok(name, "/dev/net/tun")
    else:
        remedy = "modprobe tun, and add `tun` to /etc/modules"
        yield failed(name, "/dev/net/tun", "absent: Tailscale needs it", remedy)
    yield _nesting(name, facts)
    yield _package(name, facts.get("package", ""))
    if "nft" in facts:
        yield ok(name, "nftables")
    else:
        yield warning(name, "nftables", "the kernel module nf_tables is not found", "the dead-peer guard needs it")


def _nesting(name: str, facts: Mapping[str, str]) -> Check:
    """Checks that unprivileged containers with nesting work: user namespaces and unified control groups."""
    title = "unprivileged containers with nesting"
    if facts.get("userns", "") in ("", "0"):
        return failed(name, title, "user namespaces are switched off", "sysctl user.max_user_namespaces=100000")
    if facts.get("cgroup") != "cgroup2fs":
        remedy = "take systemd.unified_cgroup_hierarchy=0 off the kernel's command line"
        return failed(name, title, f"control groups are {facts.get('cgroup', 'unknown')}, not version 2", remedy)
    return ok(name, title)


def _package(name: str, version: str) -> Check:
    title = "pve-container takes Debian 13"
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not found:
        return skipped(name, title, "its version could not be read")
    series = 9 if found >= (6,) else 8
    oldest = CONTAINER_PACKAGE[series]
    if found >= oldest:
        return ok(name, title, version)
    wanted = ".".join(map(str, oldest))
    return failed(name, title, version, f"apt install pve-container: {wanted} or newer (it refuses Debian 13.1 before)")
