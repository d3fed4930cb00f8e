"""What a provider declares is what it has: the methods of the faults that it can make, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from tercet.inventory.providers import Capability, ProviderDeclaration
from tercet.providers.base import Faults
from tercet.providers.lab import declaration as lab
from tercet.providers.lab.faults import LabFaults
from tercet.providers.proxmox import declaration as proxmox
from tercet.providers.proxmox.faults import ProxmoxFaults
from tests.sample_provider import declaration as paper
from tests.sample_provider.provider import PaperFaults

METHODS = {
    Capability.KILL: {"kill", "start"},
    Capability.FREEZE: {"freeze", "thaw"},
    Capability.CUT: {"cut", "join"},
    Capability.CUT_ONE_WAY: {"cut", "join"},
    Capability.LOSS: {"lose", "steady"},
    Capability.LATENCY: {"delay", "steady"},
    Capability.SLOW_DISK: {"slow_disk", "free_disk"},
}


@pytest.mark.parametrize(
    ("declared", "faults"),
    [
        (lab.DECLARATION, LabFaults),
        (proxmox.DECLARATION, ProxmoxFaults),
        (paper.DECLARATION, PaperFaults),
    ],
    ids=["lab", "proxmox", "paper"],
)
def test_a_provider_has_the_methods_of_the_faults_that_it_declares(
    declared: ProviderDeclaration[Any], faults: type[Faults]
) -> None:
    every = set().union(*METHODS.values())
    own = {name for name in every if getattr(faults, name) is not getattr(Faults, name)}
    assert own == set().union(*(METHODS[one] for one in declared.faults))


def test_every_capability_has_its_methods() -> None:
    assert set(METHODS) == set(Capability)
