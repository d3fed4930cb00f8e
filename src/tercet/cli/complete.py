"""Shell completion of names from the inventory and of drills. Without an inventory, there are no names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING

import click

from tercet.cli.invocation import Invocation
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.inventory.platform import Platform

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _of_platform(names: Callable[[Platform], Iterable[str]]) -> Complete:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        call: Invocation = ctx.obj
        try:
            platform = call.platform()
        except (TercetError, OSError):
            return []  # do not print an error into the line that is being typed
        return _beginning(incomplete, names(platform))

    return complete


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


node_names = _of_platform(lambda platform: [node.name for node in platform.containers])
site_names = _of_platform(lambda platform: [site.name for site in platform.sites])
lost_names = _of_platform(lambda platform: [site.name for site in platform.lost_sites])


def drill_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The built-in drills, by the names of their files: reading them all takes too long for a key press."""
    folder = resources.files("tercet.drills.scenario").joinpath("built_in")
    names: Sequence[str] = [file.name.removesuffix(".yml") for file in folder.iterdir() if file.name.endswith(".yml")]
    return _beginning(incomplete, sorted(names))
