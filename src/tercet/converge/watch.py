"""The paths that units watch. A change of a path that a unit watches restarts or reloads the unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tercet.converge.resources import Absent, Directory, File, Program, Resource, Unit

UNIT_FILES = "/etc/systemd/system"


@dataclass(frozen=True, slots=True)
class Watch:
    """The paths that a unit watches. A directory stands for everything in it. `reload` has those of `paths` for which a
    reload is enough.
    """

    paths: tuple[str, ...]
    reload: tuple[str, ...]


def watches(resources: Iterable[Resource]) -> dict[str, Watch]:
    """By unit, the paths that the units of one node watch: those that they name, their unit file and its drop-ins.

    A unit that must not run watches nothing.
    """
    resources = list(resources)
    managed = [path for resource in resources if (path := path_of(resource))]
    found = {}
    for unit in resources:
        if isinstance(unit, Unit) and not unit.active:
            found[unit.name] = Watch((), ())
        elif isinstance(unit, Unit):
            own = f"{UNIT_FILES}/{unit.name}"
            implied = [path for path in managed if path == own or covers(f"{own}.d", path)]
            restart = tuple(dict.fromkeys([*unit.restart_on, *implied]))
            reload = tuple(path for path in unit.reload_on if path not in restart)
            found[unit.name] = Watch((*restart, *reload), reload)
    return found


def path_of(resource: Resource) -> str | None:
    """The path of a resource, if it has one."""
    match resource:
        case File(path=path) | Directory(path=path) | Absent(path=path):
            return path
        case Program():
            return resource.link
    return None


def covers(above: str, path: str) -> bool:
    """Whether `path` is `above` or inside it."""
    return path == above or path.startswith(f"{above}/")
