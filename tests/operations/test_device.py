"""What `doctor` makes of the operator's machine as a device of the tailnet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tercet.inventory.platform import Platform
from tercet.operations.device import device, judged


@pytest.fixture
def platform(platform: Platform) -> Platform:
    """The default one, but in a tailnet of the operator's, with servers of theirs."""
    return replace(platform, settings=platform.settings.model_copy(update={"provider": "proxmox"}))


def seeing(*names: str, tags: tuple[str, ...] = (), state: str = "Running") -> dict[str, Any]:
    peers = {f"key {name}": {"HostName": name} for name in names}
    return {"BackendState": state, "Self": {"HostName": "laptop", "Tags": list(tags)}, "Peer": peers or None}


def test_a_device_that_sees_no_node_is_as_it_should_be(platform: Platform) -> None:
    assert judged(platform, seeing()).state == judged(platform, seeing("printer")).state == "ok"


def test_a_node_that_is_not_open_to_it_is_named(platform: Platform) -> None:
    found = judged(platform, seeing("printer", "db-sib-01", "apps-fsn-01"))
    assert (found.state, found.found) == ("warning", "it sees apps-fsn-01, db-sib-01, where nothing is open to it")
    assert "`tercet tailnet policy`" in found.remedy


def test_a_device_with_the_nodes_tag_is_told_so(platform: Platform) -> None:
    found = judged(platform, seeing(tags=(platform.settings.tailnet.tag,)))
    assert (found.state, found.found) == ("warning", "it has the nodes' tag, tag:tercet")


def test_a_device_of_no_tailnet_sees_nothing(platform: Platform) -> None:
    assert judged(platform, seeing(state="Stopped")).state == "skipped"
    assert judged(platform, {}).state == "skipped"


@pytest.mark.parametrize(
    ("script", "state", "found"),
    [
        ("exit 1", "skipped", "its tailscaled does not answer"),
        ("echo no JSON", "skipped", "its tailscaled does not answer"),
        (f"echo '{json.dumps(seeing('db-sib-03'))}'", "warning", "it sees db-sib-03, where nothing is open to it"),
        (None, "skipped", "it has no tailscale"),
    ],
)
async def test_tailscale_is_asked(
    platform: Platform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    state: str,
    found: str,
) -> None:
    if script is not None:
        program = tmp_path / "bin" / "tailscale"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    check = await device(platform)
    assert check and (check.state, check.found) == (state, found)
