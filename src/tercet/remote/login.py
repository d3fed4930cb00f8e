"""How a server is logged in to. Apart from ssh.py, so that the inventory is read without an SSH library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SshLogin:
    """`key` is a private key (None: those of the agent, then those in ~/.ssh); `host_key` the fingerprint of the
    server's (None: the key that it first shows is pinned)."""

    host: str
    port: int
    user: str
    key: Path | None
    host_key: str | None
