"""From the file to the platform: read, check, and say everything that is wrong at once, with its line."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from tercet.errors import TercetError
from tercet.inventory import credentials, proxmox
from tercet.inventory.checks import check
from tercet.inventory.document import Document, read
from tercet.inventory.explain import explain
from tercet.inventory.model import Inventory, SourcesModel
from tercet.inventory.networks import site_subnet
from tercet.inventory.platform import Platform, Site
from tercet.inventory.problems import InventoryError, Problem
from tercet.inventory.repair import repaired, rests_on

MAX_BYTES = 1 << 20
"""No inventory is larger; a file that is, is something else."""


def load(path: Path, *, lab: bool = False) -> Platform:
    """The platform of the inventory at `path`. With `lab`, in the built-in lab whatever provider it names.

    Raises InventoryError with everything that is wrong in the file, TercetError where it cannot be read.
    """
    try:
        if not path.is_file() and path.exists():
            raise TercetError(
                f"expected an inventory at {path}, found something that is no file: name your inventory with -f FILE"
            )
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise TercetError(
            f"expected an inventory at {path}, found no such file: write one with `tercet init`, "
            "or name yours with -f FILE"
        ) from None
    except OSError as error:
        raise TercetError(
            f"expected an inventory at {path}, found that it cannot be read ({error.strerror}): "
            "name a file that you may read with -f FILE"
        ) from None
    if len(raw) > MAX_BYTES:
        raise TercetError(
            f"expected an inventory at {path}, found a file of more than {MAX_BYTES >> 20} MiB: "
            "name your inventory with -f FILE"
        )
    return parse(raw, path, lab=lab)


def parse(raw: bytes, path: Path, *, lab: bool = False) -> Platform:
    """The platform of an inventory's bytes; `path` names it in errors and is what relative paths start from."""
    document = read(raw)
    if lab and isinstance(document.data, dict):
        document.data["provider"] = "lab"  # before the checks: what another provider lacks is no problem here
    inventory, problems = _checked(document)
    if problems or inventory is None:
        raise InventoryError(path, tuple(sorted(set(problems))))
    return platform_of(_settled(inventory, path.absolute().parent))


def platform_of(inventory: Inventory) -> Platform:
    """The platform of a checked inventory."""
    sites = tuple(
        Site(
            name=site.name,
            datacenter=site.datacenter,
            place=site.place,
            initial_primary=site.database == "primary",
            subnet=site_subnet(inventory, i),
        )
        for i, site in enumerate(inventory.sites)
    )
    return Platform(inventory.platform, sites, inventory)


def _checked(document: Document) -> tuple[Inventory | None, list[Problem]]:
    """The inventory and every problem: of the YAML, of single values, and between values."""
    problems = list(document.problems)
    if not isinstance(document.data, dict):
        if not problems:
            found = "an empty file" if document.data is None else "something else"
            problems.append(Problem(1, 1, "", "an inventory", found, "one with `tercet init`"))
        return None, problems
    try:
        inventory = Inventory.model_validate_json(json.dumps(document.data), strict=True)
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


def _settled(inventory: Inventory, folder: Path) -> Inventory:
    """With relative paths made absolute: they start at the inventory's folder."""
    sources = {
        name: f"path:{folder / Path(source.removeprefix('path:').strip()).expanduser()}"
        for name, source in inventory.sources
        if source.startswith("path:")
    }
    return inventory.model_copy(
        update={
            "sources": SourcesModel(**{**dict(inventory.sources), **sources}),
            "cache": folder / inventory.cache.expanduser(),
            "proxmox": proxmox.settled(inventory.proxmox, folder),
            "sites": tuple(
                site.model_copy(update={"proxmox": proxmox.settled(site.proxmox, folder)}) for site in inventory.sites
            ),
            "tailnet": inventory.tailnet.model_copy(
                update={
                    name: credentials.settled(source, folder)
                    for name in ("auth_key", "api_key")
                    if (source := getattr(inventory.tailnet, name)) is not None
                }
                | ({"ca": folder / ca.expanduser()} if (ca := inventory.tailnet.ca) else {})
            ),
        }
    )
