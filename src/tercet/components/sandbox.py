"""What the processes of a unit may do, as systemd enforces it: for a program that somebody has taken over.

Most programs of the platform only talk over sockets and use their own files, so that is all a `Sandbox` allows unless
its unit names more. docs/components/units.md lists what each unit needs, and why.

A reader of a unit file should know that
- commands with "+" before them run outside the sandbox;
- a sandbox is inherited: a program cannot give the programs that it starts more than it has itself.
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
