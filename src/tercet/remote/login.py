"""The SSH login to a server. Separate from ssh.py, so that reading the inventory does not import an SSH library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SshLogin:
    """`key` is a private key (None: the agent's keys, then those in ~/.ssh). `host_key` is the fingerprint of the
    server's key (None: the first key that it shows is pinned).
    """

    host: str
    port: int
    user: str
    key: Path | None
    host_key: str | None
