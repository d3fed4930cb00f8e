"""`exec`, `shell` and `psql` hand over to lxc-attach only where that will answer. The real thing is in tests/lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.converge.fleet import Unreachable
from tercet.inventory.platform import Platform
from tercet.providers.lab import provider
from tercet.providers.lab.cgroup import Cgroups

NODE = "db-sib-01"


@pytest.fixture
def lab(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> provider.LabProvider:
    """A lab whose control groups are plain files, with one node that runs."""
    monkeypatch.setattr(provider, "require_root", lambda: None)
    monkeypatch.setattr("tercet.providers.lab.cgroup.hierarchy", lambda: tmp_path)
    monkeypatch.setattr(Cgroups, "init", lambda _self, name: 4711 if name == NODE else None)
    (tmp_path / "tercet" / platform.name / "nodes" / NODE).mkdir(parents=True)
    return provider.LabProvider(platform, None)


async def test_a_running_node_is_attached_to(lab: provider.LabProvider) -> None:
    assert (await lab.shell(NODE, ["ls", "-l"]))[-2:] == ["ls", "-l"]


async def test_a_stopped_node_is_refused_with_the_remedy(lab: provider.LabProvider) -> None:
    with pytest.raises(Unreachable, match=r"^apps-sib-01: the container does not run; `tercet up` starts it$"):
        await lab.shell("apps-sib-01", ["ls"])


async def test_a_frozen_node_is_refused_instead_of_waited_for(
    lab: provider.LabProvider, platform: Platform, tmp_path: Path
) -> None:
    (tmp_path / "tercet" / platform.name / "nodes" / NODE / "cgroup.freeze").write_text("1\n")
    with pytest.raises(Unreachable, match=r"^db-sib-01: the container is frozen, .*`tercet up` thaws it$"):
        await lab.shell(NODE)
