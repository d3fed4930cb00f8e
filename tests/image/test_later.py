"""Later versions, asked of a module proxy on the loopback and of an apt that is not there, or that is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tercet.image import later
from tercet.image.later import Answers, go_proxy, later_versions, newer
from tercet.image.parts import Contents, Kind, Part

from .conftest import Reply, Vendor

CONSUL = "/github.com/hashicorp/consul/@v/list"
TAILSCALE = "/tailscale.com/@v/list"


def contents(*components: str, consul: str = "1.22.7") -> Contents:
    parts = (
        Part(Kind.PROGRAM, "consul", consul, "", ""),
        Part(Kind.PROGRAM, "tailscale", "1.98.10", "", ""),
        Part(Kind.PROGRAM, "tailscaled", "1.98.10", "", ""),
        Part(Kind.PROGRAM, "pgcat", "5b03881", "", ""),
        Part(Kind.DEBIAN, "jq:amd64", "1.7.1-6", "", ""),
    )
    return Contents("key", "amd64", components, parts, (), ())


LISTS = """\
Package: jq
Architecture: amd64
Version: 1.7.1-6+deb13u1

Package: jq
Architecture: amd64
Version: 1.7.1-10

Package: jq
Architecture: arm64
Version: 9

Package: other
Architecture: amd64
Version: 9
"""


@pytest.fixture(autouse=True)
def no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH without apt. Returns its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def proxy(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    monkeypatch.setenv("GOPROXY", f"{vendor.url}/,direct")
    return vendor


async def asked(*components: str, consul: str = "1.22.7") -> Answers:
    return await later_versions(contents(*components, consul=consul), "trixie")


async def test_the_newest_release_is_known_for_each_program(proxy: Vendor) -> None:
    proxy.serve(CONSUL, b"v1.22.7\nv1.9.0\nv1.22.10\nv1.22.8\nv1.23.0-rc1\nv0.0.0-20171026175957-610f3c86a089\n")
    proxy.serve(TAILSCALE, b"v1.98.10\nv1.100.1\n")
    answers = await asked("consul", "tailscale")
    assert answers.later == {
        (Kind.PROGRAM, "consul"): "1.22.10",
        (Kind.PROGRAM, "tailscale"): "1.100.1",
        (Kind.PROGRAM, "tailscaled"): "1.100.1",
    }


async def test_the_newest_version_has_no_later_one(proxy: Vendor) -> None:
    proxy.serve(CONSUL, b"v1.22.7\nv1.22.6\n")
    answers = await asked("consul")
    assert answers.later == {} and not [line for line in answers.unknown if line.startswith("consul")]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=404), "answers 404"),
        (Reply(b""), "the module proxy's list of versions does not have 1.22.7 itself"),
        (Reply(b"v1.0.0\n"), "the module proxy's list of versions does not have 1.22.7 itself"),
        (Reply(b"v1.22.8\n", breaks_after=2), "could not be asked"),
    ],
)
async def test_what_a_proxy_does_not_tell_is_said(proxy: Vendor, reply: Reply, reason: str) -> None:
    proxy.replies[CONSUL] = reply
    answers = await asked("consul")
    assert answers.later == {}
    assert reason in answers.unknown[0] and answers.unknown[0].startswith("consul: ")


async def test_a_silent_proxy_costs_its_time_and_no_more(proxy: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "REQUEST_TIMEOUT", 0.3)
    proxy.replies[CONSUL] = Reply(b"v1.22.8\n", hangs_after=1)
    proxy.serve(TAILSCALE, b"v1.98.10\nv1.100.1\n")
    started = time.monotonic()
    answers = await asked("consul", "tailscale")
    assert time.monotonic() - started < 10
    assert "could not be asked" in answers.unknown[0] and answers.unknown[0].startswith("consul: ")
    assert (Kind.PROGRAM, "tailscale") in answers.later, "the others were asked"


async def test_nothing_to_ask_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    answers = await asked("consul", "pgcat")
    assert answers.unknown[:2] == (
        "consul: GOPROXY is off, so there is no module proxy to ask",
        "pgcat: no package source knows its versions",
    )
    assert answers.unknown[2].startswith("Debian: ") and "apt-get" in answers.unknown[2]


def test_the_module_proxy_is_gos_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOPROXY", raising=False)
    assert go_proxy() == "https://proxy.golang.org"
    monkeypatch.setenv("GOPROXY", "http://first.example/go/|https://second.example")
    assert go_proxy() == "http://first.example/go"


def test_debians_newest_version_counts_and_only_of_the_same_architecture(tmp_path: Path) -> None:
    (tmp_path / "mirror_Packages").write_text(LISTS)
    assert newer({"jq:amd64": "1.7.1-6"}, tmp_path) == {"jq:amd64": "1.7.1-10"}
    assert newer({"jq:amd64": "1.7.1-10", "gone:amd64": "1"}, tmp_path) == {}


def apt(folder: Path, body: str) -> None:
    """An apt-get that does this with the settings in $APT_CONFIG, and what it takes to run it."""
    for name in ("setpriv", "sed", "cat", "sh"):
        (folder / name).symlink_to(
            next(place for place in (Path("/usr/bin") / name, Path("/bin") / name) if place.exists())
        )
    (folder / "apt-get").write_text(f"#!/bin/sh\nset -eu\n{body}\n")
    (folder / "apt-get").chmod(0o755)


async def test_apt_gets_settings_of_its_own(no_debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERCET_DEBIAN_MIRROR", "http://mirror.example/debian")
    apt(
        no_debian,
        f"""test "$*" = "--quiet update"
        state=$(sed -n 's/^Dir::State "\\(.*\\)";$/\\1/p' "$APT_CONFIG")
        test -d "$state/lists/partial"
        cat "${{APT_CONFIG%/*}}/sources.list" > {no_debian}/sources
        cat > "$state/lists/mirror_Packages" <<'END'\n{LISTS}\nEND
        """,
    )
    answers = await asked()
    assert answers == Answers({(Kind.DEBIAN, "jq:amd64"): "1.7.1-10"}, ())
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert (no_debian / "sources").read_text().splitlines() == [
        f"deb {keyring} http://mirror.example/debian trixie main",
        f"deb {keyring} http://mirror.example/debian trixie-updates main",
        f"deb {keyring} http://mirror.example/debian-security trixie-security main",
    ]


async def test_a_silent_mirror_is_said_with_apts_first_word(no_debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERCET_DEBIAN_MIRROR", "http://mirror.example/debian")
    apt(no_debian, "echo 'E: Could not connect' >&2; echo 'E: Some failed' >&2; exit 100")
    assert (await asked()).unknown == (
        "Debian: http://mirror.example/debian could not be asked (E: Could not connect)",
    )
