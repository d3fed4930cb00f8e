"""What a machine outside the platform tries. tests/lab/test_intruder.py attacks a real platform."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tercet.components.firewall.component import platform_ports
from tercet.converge.requests import NO_ANSWER, Answer
from tercet.drills.intruder import outside
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.inventory.providers import declaration
from tercet.session.session import open_session

SAID = "10.77.1.12 100.64.0.9 fd7a:115c:a1e0::9 \n127.0.0.1:8500\n[::1]:3000\n0.0.0.0:20001\n"


def test_a_node_is_tried_wherever_it_listens_or_might(platform: Platform) -> None:
    found = outside._target(platform, "apps-sib-01", Answer(0, SAID))
    assert (found.bridge, found.tailnet) == ("10.77.1.12", "100.64.0.9")
    assert set(found.ports) == {22, 3000, 20001, *platform_ports(platform)}


@pytest.mark.parametrize("answer", [NO_ANSWER, Answer(0, ""), Answer(0, "100.64.0.9\n"), Answer(0, "10.77.1.12\n")])
def test_a_node_without_both_addresses_proves_nothing(platform: Platform, answer: Answer) -> None:
    with pytest.raises(TercetError, match="expected addresses of apps-sib-01 on the bridge and in the tailnet"):
        outside._target(platform, "apps-sib-01", answer)


async def test_nothing_is_tried_where_the_provider_makes_no_guest(
    monkeypatch: pytest.MonkeyPatch, inventory_file: Path
) -> None:
    makes_none = replace(declaration("lab"), neighbours=False)
    monkeypatch.setattr(outside, "declaration", lambda _name: makes_none)
    async with open_session(inventory_file) as session:
        assert await outside.attempts(session) == []
