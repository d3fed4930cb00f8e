"""Makes the platform from the file: reads and checks it, and reports all problems at once, with their lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tercet.inventory import credentials
from tercet.inventory.checks import check
from tercet.inventory.document import Document, read
from tercet.inventory.explain import explain
from tercet.inventory.model import Inventory, inventory_model
from tercet.inventory.platform import Platform, Site
from tercet.inventory.problems import Finding, InventoryError, NoInventoryError, Problem, quoted
from tercet.inventory.providers import declarations
from tercet.inventory.repair import repaired, rests_on

MAX_BYTES = 1 << 20
"""No inventory is larger than this."""


def load(path: Path, *, provider: str = "", look: bool = False) -> Platform:
    """The platform of the inventory at `path`. If `provider` is given, it replaces the inventory's.

    With `look`, programs that the inventory names by a path must exist. This is for checking an inventory: a running
    platform does not need them any more, because the cache has copies.

    Raises InventoryError with all problems of the file, and NoInventoryError if it cannot be read.
    """
    try:
        if not path.is_file() and path.exists():
            raise NoInventoryError(path, "something that is not a file", "name your inventory with -f FILE")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        remedy = "write one with `tercet init`, or name yours with -f FILE"
        raise NoInventoryError(path, "no such file", remedy) from None
    except OSError as error:
        found = f"that it cannot be read ({error.strerror})"
        raise NoInventoryError(path, found, "name a file that you can read with -f FILE") from None
    if len(raw) > MAX_BYTES:
        raise NoInventoryError(path, f"a file of more than {MAX_BYTES >> 20} MiB", "name your inventory with -f FILE")
    return parse(raw, path, provider=provider, look=look)


def parse(raw: bytes, path: Path, *, provider: str = "", look: bool = False) -> Platform:
    """The platform of an inventory's bytes. `path` is its name in errors, and relative paths start from there."""
    document = read(raw)
    if provider and isinstance(document.data, dict):
        document.data["provider"] = provider  # before the checks, because settings of another provider may be missing
    inventory, problems = _checked(document)
    if problems or inventory is None:
        raise InventoryError(path, tuple(sorted(set(problems))))
    resolved = _resolved(inventory, path.absolute().parent)
    if look and (absent := [document.problem(finding) for finding in _absent(resolved)]):
        raise InventoryError(path, tuple(sorted(absent)))
    return platform_of(resolved)


def _absent(inventory: Inventory) -> Iterator[Finding]:
    """The operator's own programs that are not at the path in the inventory."""
    for name, source in inventory.sources:
        place = Path(source.removeprefix("path:"))
        if source.startswith("path:") and not place.exists():
            write = f"{name}: auto, or the path of a file or folder that exists"
            yield Finding(("sources", name), "a file or a folder of binaries", f"nothing at {place}", write)


def platform_of(inventory: Inventory) -> Platform:
    """The platform of a checked inventory."""
    sites = tuple(
        Site(
            name=site.name,
            datacenter=site.datacenter,
            place=site.place,
            initial_primary=site.database == "primary",
        )
        for site in inventory.sites
    )
    return Platform(inventory.platform, sites, inventory).losing(*inventory.lost_sites)


def _checked(document: Document) -> tuple[Inventory | None, list[Problem]]:
    """The inventory and every problem: of the YAML, of single values, and between values."""
    problems = list(document.problems)
    if not isinstance(document.data, dict):
        if not problems:
            found = "an empty file" if document.data is None else f"only {quoted(document.data)}"
            problems.append(Problem(1, 1, "", "an inventory", found, "one with `tercet init`"))
        return None, problems
    try:
        inventory = inventory_model().model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += [document.problem(explain(one, document)) for one in errors]
        rest, wrong = repaired(document.data, errors)
        if rest is not None:
            findings = [finding for finding in check(rest) if not rests_on(finding, wrong)]
            problems += [document.problem(finding) for finding in findings]
        return None, problems
    problems += [document.problem(finding) for finding in check(inventory)]
    return inventory, problems


def _resolved(inventory: Inventory, folder: Path) -> Inventory:
    """The inventory with absolute paths: relative ones start at the inventory's folder."""
    providers = declarations()
    sources = {
        name: f"path:{folder / Path(source.removeprefix('path:').strip()).expanduser()}"
        for name, source in inventory.sources
        if source.startswith("path:")
    }
    return inventory.model_copy(
        update={
            "sources": inventory.sources.model_copy(update=sources),
            "cache": folder / inventory.cache.expanduser(),
            **{each.name: each.resolved(inventory.of(each), folder) for each in providers},
            "sites": tuple(
                site.model_copy(
                    update={each.name: each.resolved(site.of(each), folder) for each in providers if each.per_site}
                )
                for site in inventory.sites
            ),
            "tailnet": inventory.tailnet.model_copy(
                update={
                    name: credentials.resolved(source, folder)
                    for name in ("auth_key", "api_key")
                    if (source := getattr(inventory.tailnet, name)) is not None
                }
                | ({"ca": folder / ca.expanduser()} if (ca := inventory.tailnet.ca) else {})
            ),
        }
    )
