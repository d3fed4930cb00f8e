"""The host keys of SSH servers, pinned on first use in a file beside the inventory.

The file has OpenSSH's known_hosts format, so `ssh` itself can use it. Invariant: the tool never replaces a pinned key.
It refuses a server with another key before it sends anything.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from tercet.errors import TercetError

_log = logging.getLogger("tercet.ssh")


@dataclass
class HostKeys:
    """The file at `path`, which may not exist yet."""

    path: Path
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def pinned(self, host: str, port: int) -> list[asyncssh.SSHKey]:
        """The keys that are pinned for a server. Raises TercetError if the file is malformed."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise TercetError(
                f"expected pinned host keys in {self.path}, found that it cannot be read: {error}"
            ) from None
        keys = []
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words or words[0].startswith("#") or words[0] != entry_name(host, port):
                continue
            try:
                keys.append(asyncssh.import_public_key(" ".join(words[1:3])))
            except asyncssh.KeyImportError:
                raise TercetError(
                    f"expected a host key in {self.path}, line {number}, found something else: remove the line, and "
                    "compare the key that is pinned anew with the server's"
                ) from None
        return keys

    async def pin(self, host: str, port: int, key: asyncssh.SSHKey) -> None:
        """Pin the key of a server that had no pinned key, and report it."""
        async with self._lock:
            if self.pinned(host, port):
                return
            public = " ".join(key.export_public_key("openssh").decode().split()[:2])
            try:
                new = not self.path.exists()
                with self.path.open("a", encoding="utf-8") as file:
                    if new:
                        file.write("# SSH keys of servers, pinned by tercet when it first met them.\n")
                    file.write(f"{entry_name(host, port)} {public}\n")
            except OSError as error:
                raise TercetError(
                    f"expected to pin the SSH host key {key.get_fingerprint()} of {host} in {self.path}, found: "
                    f"{error.strerror}. Make the file writable, or write the fingerprint at `ssh.host_key`"
                ) from None
        _log.warning(
            "first contact with %s: its SSH host key %s is pinned in %s. Compare it with what the server itself "
            "says: ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub",
            host,
            key.get_fingerprint(),
            self.path,
            key.get_algorithm().removeprefix("ssh-").split("-")[0],
        )


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """The host keys of a node, read through its server, so that none is trusted on first use."""

    path: str  # the source of the keys, for messages
    keys: tuple[asyncssh.SSHKey, ...]

    def pinned(self, _host: str, _port: int) -> list[asyncssh.SSHKey]:
        return list(self.keys)

    async def pin(self, _host: str, _port: int, _key: asyncssh.SSHKey) -> None:
        """Nothing to do: all keys are known."""


def entry_name(host: str, port: int) -> str:
    """A server's name in the format of known_hosts."""
    return host if port == 22 else f"[{host}]:{port}"


class Verifier(asyncssh.SSHClient):
    """Verifies a server's key during the key exchange, before the login. Records the key that it saw."""

    def __init__(self, allowed: list[asyncssh.SSHKey], fingerprint: str | None) -> None:
        self._allowed = allowed
        self._fingerprint = fingerprint
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        """Compare with the inventory's fingerprint, or else with the pinned keys. If no key is pinned either, this is
        the first contact, and the key is accepted.
        """
        self.shown = key
        if self._fingerprint is not None:
            return bool(key.get_fingerprint() == self._fingerprint)
        return not self._allowed or key in self._allowed
