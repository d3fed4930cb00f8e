"""Checks whether this platform's provider can make a fault, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.inventory.providers import Capability, declaration
from tercet.session.session import Session


def lacking(needs: Iterable[Capability], session: Session) -> dict[Capability, str]:
    """The capabilities that are not available here, each with the reason."""
    name = session.platform.settings.provider
    declared, here = declaration(name).faults, session.provider.faults.lacking
    undeclared = f"the provider {name} cannot do that"
    return {need: here.get(need, undeclared) for need in sorted(needs) if need in here or need not in declared}
