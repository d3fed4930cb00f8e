"""Sites that are lost: the platform that is left, and the one key in the operator's own file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.inventory.document import read
from tercet.inventory.load import load, parse
from tercet.inventory.lost import edited, line_of, write
from tercet.inventory.platform import Platform, Role
from tercet.inventory.problems import InventoryError

WHEN = "2026-11-27 23:10 UTC"
TWO = ("sib-01", "sib-03")


def with_lost(raw: bytes, *lost: str) -> bytes:
    return edited(raw, lost, "site-alone fsn-01", WHEN)


def lost_in(raw: bytes) -> object:
    data = read(raw).data
    assert isinstance(data, dict)
    return data.get("lost_sites")


def test_what_is_wanted_is_wanted_of_the_sites_that_are_left(platform: Platform) -> None:
    left = platform.losing(*TWO)
    assert [site.name for site in left.sites] == ["fsn-01"] and [site.name for site in left.lost_sites] == list(TWO)
    assert [node.name for node in left.nodes] == ["consul-nomad-fsn-01", "apps-fsn-01", "db-fsn-01"]
    assert len(left.lost_nodes) == 6 and not set(left.lost_nodes) & set(left.containers)
    assert left.initial_primary == left.at("fsn-01", Role.DB), "the first primary's site is lost"
    assert (platform.confirming, platform.losing("sib-01").confirming, left.confirming) == (1, 1, 0)


def test_with_all_sites_back_it_is_the_same_platform(platform: Platform) -> None:
    assert platform.losing(*TWO).losing() == platform


def test_the_key_in_the_file_and_the_method_say_the_same(inventory_file: Path, platform: Platform) -> None:
    write(inventory_file, TWO, "site-alone fsn-01", WHEN)
    assert load(inventory_file) == platform.losing(*TWO)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("[sib-3]", "expected the name of a site: sib-01, sib-03, fsn-01, found"),
        ("[sib-01, sib-01]", "expected each lost site once"),
        ("[sib-01, sib-03, fsn-01]", "expected at least one site that is not lost"),
    ],
)
def test_a_key_that_fits_no_site_is_refused(inventory_file: Path, lost: str, said: str) -> None:
    raw = inventory_file.read_bytes() + f"lost_sites: {lost}\n".encode()
    with pytest.raises(InventoryError) as refused:
        parse(raw, inventory_file)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "key",
    [
        b"lost_sites: [sib-01]  # by hand\n",
        b"lost_sites:\n  - sib-01\n  - fsn-01   # two\n",
        b"lost_sites: [\n  sib-01,\n  sib-03]\n",
        b"lost_sites:\n",
    ],
)
@pytest.mark.parametrize("after", [b"", b"# the end\nplatform: other\n"])
def test_the_key_is_replaced_wherever_and_however_it_stands(key: bytes, after: bytes) -> None:
    before = b"# mine\nproxy: pgpool   # since May\n\n"
    changed = with_lost(before + key + after, *TWO)
    assert changed.startswith(before) and changed.endswith(after) and lost_in(changed) == list(TWO)
    assert changed.count(b"lost_sites") == 1
    assert with_lost(changed) == before + after, "and it goes with its comment"


def test_all_other_bytes_stay(inventory_file: Path) -> None:
    raw = inventory_file.read_bytes()
    once = with_lost(raw, *TWO)
    assert once.startswith(raw)
    assert b"# Written by `tercet recover site-alone fsn-01` at 2026-11-27 23:10 UTC." in once[len(raw) :]
    assert with_lost(once, "sib-03") == with_lost(raw, "sib-03")
    assert with_lost(once) == raw


@pytest.mark.parametrize(
    "raw",
    [b"platform: a", b"platform: a\r\nproxy: auto\r\n", b"\xef\xbb\xbfplatform: a\n", b"platform: a\n...\n"],
)
def test_odd_ends_of_files(raw: bytes) -> None:
    changed = with_lost(raw, *TWO)
    assert lost_in(changed) == list(TWO) and lost_in(with_lost(changed)) is None
    assert (b"\r\n" in raw) == (b"\r\n" in changed) and (b"\n" in changed.replace(b"\r\n", b"")) == (b"\r" not in raw)


@pytest.mark.parametrize("raw", [b"{platform: a}\n", b"- a\n", b"", b"platform: [\n"])
def test_a_file_that_cannot_be_changed_safely_is_left_alone(raw: bytes) -> None:
    with pytest.raises(ValueError, match="it is"):
        with_lost(raw, *TWO)


def test_the_message_has_the_line_to_write(tmp_path: Path) -> None:
    file = tmp_path / "tercet.yml"
    file.write_bytes(b"{platform: a}\n")
    with pytest.raises(TercetError) as refused:
        write(file, TWO, "site-alone fsn-01", WHEN)
    assert line_of(TWO) in str(refused.value) and file.read_bytes() == b"{platform: a}\n"


def test_the_file_keeps_its_mode_its_link_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    real, link = tmp_path / "real" / "a.yml", tmp_path / "links" / "tercet.yml"
    real.write_bytes(b"platform: a\n")
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, TWO, "site-alone fsn-01", WHEN)
    assert link.is_symlink() and lost_in(real.read_bytes()) == list(TWO)
    assert stat.S_IMODE(real.stat().st_mode) == 0o640 and list(real.parent.iterdir()) == [real]
    written = real.stat().st_ino
    write(link, TWO, "site-alone fsn-01", "later")
    assert real.stat().st_ino == written, "what it says already is not written again"
