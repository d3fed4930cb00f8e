"""The paths of the files next to an inventory."""

from __future__ import annotations

from pathlib import Path


def lock_file(inventory: Path) -> Path:
    """The lock file, which records the chosen sources of components."""
    return inventory.with_name(f"{inventory.stem}.lock.json")


def secrets_file(inventory: Path) -> Path:
    """The file of generated secrets."""
    return inventory.with_name(f"{inventory.stem}.secrets.yml")


def known_hosts_file(inventory: Path) -> Path:
    """The file in which the SSH keys of servers are pinned."""
    return inventory.with_name(f"{inventory.stem}.known_hosts")
