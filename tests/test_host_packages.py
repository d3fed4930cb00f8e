"""scripts/host-packages on hosts that lack things, made of a PATH with nothing but what each test puts there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "host-packages"
BASICS = ("sh", "test", "env", "echo")


class Host:
    """A host with these commands alone; `asked` is what its apt-get was asked for."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.bin.mkdir()
        self.log = root / "asked"
        for name in BASICS:
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)

    def has(self, name: str, body: str = "exit 0") -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(self, purpose: str) -> subprocess.CompletedProcess[str]:
        # The script looks into sbin as well, so what lies there on this machine may count as there.
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), purpose],
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def apt(host: Host, then: str = "exit 0") -> None:
    host.has("apt-get", f'echo "$@" >> {host.log}\n{then}')


def test_what_is_missing_is_said_with_the_reason_and_installed(host: Host) -> None:
    host.has("id", "echo 0")
    apt(host)
    done = host.run("lab")
    assert done.returncode == 0, done.stderr
    assert "  lxc: runs the nodes, real system containers\n" in done.stdout
    assert "  mmdebstrap: builds the nodes' image\n" in done.stdout
    assert host.asked[0] == "-q update"
    assert host.asked[1].startswith("-q -y install --no-install-recommends lxc mmdebstrap ")


def test_an_ordinary_user_uses_sudo(host: Host) -> None:
    host.has("id", "echo 1000")
    host.has("sudo", 'SUDO=yes exec "$@"')
    apt(host, then='test "$SUDO" = yes')
    assert host.run("lab").returncode == 0
    assert len(host.asked) == 2


def test_without_root_and_sudo_there_is_one_clear_error(host: Host) -> None:
    host.has("id", "echo 1000")
    apt(host)
    done = host.run("lab")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "host-packages: expected root or sudo to install them, found neither: run as root: apt-"
    )
    assert len(done.stderr.splitlines()) == 1
    assert host.asked == []


def test_another_system_is_told_what_to_install(host: Host) -> None:
    host.has("id", "echo 0")
    done = host.run("lab")
    assert done.returncode == 1
    assert "This host lacks:" in done.stdout
    assert "found none: install them with this system's package manager" in done.stderr


def test_a_failing_apt_shows_what_it_said(host: Host) -> None:
    host.has("id", "echo 0")
    apt(host, then="echo 'E: no route to host'; exit 100")
    done = host.run("lab")
    assert done.returncode == 1
    assert "E: no route to host\n" in done.stderr
    assert "run the same command again" in done.stderr


def test_nothing_missing_is_silent(host: Host) -> None:
    (host.bin / "python3").symlink_to(sys.executable)
    done = host.run("python")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert host.asked == []


def test_an_old_python_is_refused(host: Host) -> None:
    host.has("python3", 'case "$*" in *version_info*) exit 1;; --version) echo Python 3.9.2;; esac')
    done = host.run("python")
    assert done.returncode == 1
    assert "expected Python 3.11 or newer, found Python 3.9.2" in done.stderr


def test_an_unknown_purpose_is_refused(host: Host) -> None:
    done = host.run("everything")
    assert (done.returncode, done.stderr) == (1, "usage: scripts/host-packages python|lab\n")
