"""The files that lie beside an inventory."""

from __future__ import annotations

from pathlib import Path


def lock_file(inventory: Path) -> Path:
    """Where the choice of component sources is recorded."""
    return inventory.with_name(f"{inventory.stem}.lock.json")


def secrets_file(inventory: Path) -> Path:
    """The one place of generated secrets."""
    return inventory.with_name(f"{inventory.stem}.secrets.yml")


def known_hosts_file(inventory: Path) -> Path:
    """Where the SSH keys of servers are pinned."""
    return inventory.with_name(f"{inventory.stem}.known_hosts")
