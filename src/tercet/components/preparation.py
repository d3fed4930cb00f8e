"""What must happen on a running platform before `tercet secrets rotate` replaces a secret, so that the programs accept
both the old and the new one until every node has the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.converge.requests import Request
from tercet.inventory.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Preparation:
    """One component's preparation, for the secrets of these names. Each component declares it in its `additions`.

    `requests` makes from a context with the present secrets, and from the following ones, what each node is asked, in
    order. It must be harmless if it is repeated, or if the present secrets remain after all.
    """

    names: tuple[str, ...]
    requests: Callable[[Context, Secrets], Mapping[str, tuple[Request, ...]]]
