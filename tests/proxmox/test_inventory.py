"""The Proxmox part of the inventory: what is filled in, what is refused, and that no credential is ever shown."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.inventory.credentials import read_credential
from tercet.inventory.load import parse
from tercet.inventory.platform import Role
from tercet.inventory.problems import InventoryError
from tercet.providers.proxmox.declaration import SIZES, Size, host_of

INVENTORY = """\
provider: proxmox
tailnet: {auth_key: "env:TS_AUTHKEY"}
proxmox:
  login: tercet@pve!up
  secret: env:PVE_SECRET
  ssh: {user: ops, key: id_ed25519}
  sizes: {db: {memory: 16G}}
sites:
  - name: sib-01
    datacenter: dc1
    database: primary
    proxmox: {api: "https://pve1.example.org", ca: ca.pem}
  - name: sib-03
    datacenter: dc2
    proxmox:
      api: https://10.9.0.3:8443
      ssh: {port: 2222}
      sizes: {db: {cores: 8, disk: 128G}, apps: {memory: 512M}}
      addresses: {db: 10.9.0.13/24, apps: dhcp}
      gateway: 10.9.0.1
  - name: fsn-01
    datacenter: dc3
    proxmox: {api: "https://pve3.example.org", secret: "file:pve3.secret", vmids: {db: 300}}
"""
PATH = Path("/home/ops/tercet.yml")


def problems(text: str) -> str:
    with pytest.raises(InventoryError) as caught:
        parse(text.encode(), PATH)
    return str(caught.value)


def test_a_site_wins_over_what_holds_for_all_key_by_key() -> None:
    settings = parse(INVENTORY.encode(), PATH).settings
    one, three, fsn = (host_of(settings, name) for name in ("sib-01", "sib-03", "fsn-01"))

    assert one.api == "https://pve1.example.org:8006"
    assert one.ca == Path("/home/ops/ca.pem")
    assert (one.ssh.host, one.ssh.port, one.ssh.user) == ("pve1.example.org", 22, "ops")
    assert one.sizes[Role.DB] == Size(4, 16384, 64)
    assert one.sizes[Role.CONTROL] == SIZES[Role.CONTROL]

    assert three.api == "https://10.9.0.3:8443"
    assert (three.ssh.host, three.ssh.port, three.ssh.user) == ("10.9.0.3", 2222, "ops")
    assert three.ssh.key == Path("/home/ops/id_ed25519")
    assert three.sizes[Role.DB] == Size(8, 16384, 128)
    assert three.sizes[Role.APPS].memory == 512
    assert three.addresses == {Role.CONTROL: None, Role.APPS: None, Role.DB: IPv4Interface("10.9.0.13/24")}

    assert fsn.secret == "file:/home/ops/pve3.secret"
    assert fsn.vmids[Role.DB] == 300


def test_the_lab_needs_nothing_of_it() -> None:
    text = "sites:\n" + INVENTORY.split("sites:\n")[1]
    assert parse(text.encode(), PATH).settings.provider == "lab"


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("  secret: env:PVE_SECRET\n", "", 11, "sites[0].proxmox.secret: expected the key proxmox.secret of sib-01"),
        ("login: tercet@pve!up", "login: tercet", 4, "USER@REALM!TOKEN for an API token"),
        ("memory: 16G", "memory: 16", 7, "write memory: 16G"),
        ("memory: 512M", "memory: 0G", 18, "a size with its unit"),
        ("disk: 128G", "disk: 1500M", 18, "write disk: 2G"),
        ("gateway: 10.9.0.1", "gateway: 10.8.0.1", 20, "write gateway: 10.9.0.1"),
        ("db: 10.9.0.13/24", "db: 10.9.0.13", 19, "an IPv4 address with its prefix length"),
        ("apps: dhcp", "apps: 10.9.0.13/24", 19, "10.9.0.13/24, which is apps-sib-03's too"),
        ("{db: 300}", "{db: 30}", 23, "greater than or equal to 100"),
        ("{db: 300}", "{db: 300, apps: 300}", 23, "300, which is apps-fsn-01's too"),
        ("ca: ca.pem", "fingerprint: AB:CD", 12, "a SHA-256 fingerprint"),
        ("ca: ca.pem", "storge: local", 12, "storage: (did you mean this?)"),
        ('tailnet: {auth_key: "env:TS_AUTHKEY"}\n', "", 1, "tailnet.auth_key or tailnet.api_key"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(old: str, new: str, line: int, expected: str) -> None:
    assert old in INVENTORY
    text = problems(INVENTORY.replace(old, new))
    assert expected in text
    assert f"\n{PATH}:{line}:" in text


def test_a_fingerprint_is_taken_in_any_usual_spelling() -> None:
    text = INVENTORY.replace("ca: ca.pem", f"fingerprint: {'ab' * 32}")
    assert host_of(parse(text.encode(), PATH).settings, "sib-01").fingerprint == ":".join(["AB"] * 32)


@pytest.mark.parametrize("key", ["secret: hunter2-secret", "secret: 'env:not a name hunter2-secret'"])
def test_a_credential_in_the_inventory_is_refused_and_not_shown(key: str) -> None:
    text = problems(INVENTORY.replace("secret: env:PVE_SECRET", key))
    assert "never contains a credential" in text
    assert "hunter2" not in text


def test_credentials_come_from_three_places(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    assert read_credential("env:X", "API secret", {"X": "s3cret"}) == "s3cret"
    assert read_credential(f"file:{file}", "API secret") == "s3cret"
    assert read_credential("command:printf '%s\\n' s3cret", "API secret") == "s3cret"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("env:TERCET_TEST_UNSET", "no environment variable TERCET_TEST_UNSET"),
        ("file:/nonexistent/secret", "No such file or directory"),
        ("command:false hunter2", "it failed (1)"),
        ("command:true", "printed nothing"),
        ("command:/nonexistent/program hunter2", "no such program"),
        ("command:printf 'hunter2\\nhunter2'", "as one line of text"),
    ],
)
def test_a_credential_that_cannot_be_had_is_an_error_without_it(source: str, expected: str) -> None:
    with pytest.raises(TercetError) as caught:
        read_credential(source, "API secret")
    assert expected in str(caught.value)
    assert "API secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_credential_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2")
    file.chmod(0o644)
    with pytest.raises(TercetError, match="chmod 600") as caught:
        read_credential(f"file:{file}", "API secret")
    assert "hunter2" not in str(caught.value)
