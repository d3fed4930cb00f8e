"""What the processes of a unit may do. The kernel enforces it, also for a program that somebody has taken over.

Most programs of the platform only use sockets and files of their own, so a `Sandbox` allows no more than that unless
its unit names more. docs/units.md lists what each unit needs, and why.

- Commands with "+" before them in a unit file run outside the sandbox.
- A sandbox is inherited: the programs that a program starts may do no more than the program itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`capabilities` are those of root, such as "CAP_KILL"; without them, root may do what another user may with root's
    files. `calls` are system calls beyond systemd's set for services (`systemd-analyze syscall-filter
    @system-service`).

    With `read_only`, the unit sees the file system read-only, except its own directories (`StateDirectory`,
    `RuntimeDirectory`) and a temporary directory of its own, and does not see home directories. This is for programs
    that write nothing else, and whose processes all end with the unit. With `jit`, it may make code at run time.
    """

    capabilities: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    read_only: bool = False
    jit: bool = False

    def settings(self) -> Mapping[str, str]:
        """Lines of the unit's section "Service"."""
        return {
            "NoNewPrivileges": "yes",
            "CapabilityBoundingSet": " ".join(self.capabilities),
            # AF_NETLINK: Go lists the network interfaces with it, and nft and ss work through it.
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "RestrictNamespaces": "yes",
            "RestrictRealtime": "yes",
            "RestrictSUIDSGID": "yes",
            "LockPersonality": "yes",
            **({} if self.jit else {"MemoryDenyWriteExecute": "yes"}),
            "SystemCallArchitectures": "native",
            "SystemCallFilter": " ".join(("@system-service", *self.calls)),
            "SystemCallErrorNumber": "EPERM",  # an error that programs know; the default kills the process
            **(_READ_ONLY if self.read_only else {}),
        }


_READ_ONLY = {
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
}

PLAIN = Sandbox()
