"""The Python packages that tercet itself uses, from the metadata of the installed distributions.

Metadata has no digest of the wheel that was installed. In a checkout, uv.lock has one for every wheel, and uv installs
no other: the wheel is the one whose tags are those of the installed distribution.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import product
from pathlib import Path
from typing import Any

from tercet.image.parts import Kind, Part

ROOT = "tercet"
UV_LOCK = Path(__file__).parents[3] / "uv.lock"
PYPI = "https://pypi.org"


def distributions(uv_lock: Path = UV_LOCK) -> tuple[Part, ...]:
    """Everything that tercet requires, directly or not, without tercet itself; sorted by name."""
    locked = _locked(uv_lock)
    parts = []
    for name, found in sorted(_required(ROOT).items()):
        wheel = _wheel(found, locked.get(name, {}))
        source, sha256 = wheel.get("url", ""), wheel.get("hash", "").removeprefix("sha256:")
        purl = f"pkg:pypi/{name}@{found.version}"
        parts.append(Part(Kind.PYTHON, name, found.version, source or PYPI, purl, sha256, source))
    return tuple(parts)


def _required(root: str) -> dict[str, Distribution]:
    """The installed distributions that `root` requires. What a marker excludes here is not installed."""
    found: dict[str, Distribution] = {}
    pending = _requirements(distribution(root))
    while pending:
        name = pending.pop()
        if name in found or name == root:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        pending |= _requirements(found[name])
    return found


def _requirements(of: Distribution) -> set[str]:
    """The names that it requires, except for its optional extras."""
    required = [each.partition(";") for each in of.requires or ()]
    return {_name(line) for line, _, marker in required if not re.search(r"\bextra\b", marker)}


def _name(requirement: str) -> str:
    """The normalized name at the beginning of a requirement."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else requirement


def _locked(uv_lock: Path) -> dict[str, dict[str, Any]]:
    """The packages of uv.lock by name; none if there is no such file."""
    try:
        packages = tomllib.loads(uv_lock.read_text(encoding="utf-8"))["package"]
    except FileNotFoundError:
        return {}
    return {package["name"]: package for package in packages}


def _wheel(found: Distribution, locked: dict[str, Any]) -> dict[str, str]:
    """The wheel of uv.lock with the version and the tags of the distribution; empty if there is not exactly one."""
    tags = set(re.findall(r"^Tag: (\S+)$", found.read_text("WHEEL") or "", re.MULTILINE))
    if locked.get("version") != found.version:
        return {}
    fitting = [wheel for wheel in locked.get("wheels", ()) if _tags(wheel["url"]) == tags]
    return fitting[0] if len(fitting) == 1 else {}


def _tags(url: str) -> set[str]:
    """The tags in a wheel's name: NAME-VERSION-PYTHON-ABI-PLATFORM.whl, each of the last three with dots between."""
    parts = url.removesuffix(".whl").rsplit("-", 3)[1:]
    return {"-".join(each) for each in product(*(part.split(".") for part in parts))}
