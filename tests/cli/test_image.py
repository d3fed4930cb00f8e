"""`tercet image audit`, as it is called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tercet.cli.main import main
from tercet.image import distributions as python
from tercet.image import later as asking
from tercet.image import parts as image
from tercet.image.later import Answers
from tercet.image.parts import Contents, Kind, Part

CONSUL = Part(
    Kind.PROGRAM, "consul", "1.22.7", "consul@v1.22.7", "pkg:golang/consul@v1.22.7", "abcdef012345" + "0" * 52
)
JQ = Part(Kind.DEBIAN, "jq:amd64", "1.7", "http://deb.debian.org", "pkg:deb/debian/jq@1.7")
CLICK = Part(Kind.PYTHON, "click", "8.5", "https://pypi.org", "pkg:pypi/click@8.5", "c" * 64)
FOUND = Contents("0123456789abcdef", "amd64", ("consul",), (CONSUL, JQ), (), ())
TABLES = """\
programs
NAME    VERSION  SHA256        SOURCE
consul  1.22.7   abcdef012345  consul@v1.22.7
Debian packages, from http://deb.debian.org
NAME  VERSION  SHA256
jq    1.7      unknown
Python packages of tercet itself, from https://pypi.org
NAME   VERSION  SHA256
click  8.5      cccccccccccc
"""
COUNTED = "1 programs, 1 Debian packages, 1 Python packages of tercet itself"


@pytest.fixture
def folder(inventory_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the default inventory, and an image of one program and one package."""
    monkeypatch.chdir(inventory_file.parent)
    monkeypatch.setattr(image, "contents", lambda *_: FOUND)
    monkeypatch.setattr(python, "distributions", lambda: (CLICK,))
    return inventory_file.parent


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def later_versions(_found: Contents, suite: str) -> Answers:
        assert suite == "trixie"
        return Answers({(Kind.PROGRAM, "consul"): "1.23.0"}, ("Debian: the mirror could not be asked (no route)",))

    monkeypatch.setattr(asking, "later_versions", later_versions)


def lines(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_people_get_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "audit"]) == 0
    out, err = capsys.readouterr()
    assert lines(out) == f"{TABLES}Image 0123456789abcdef: {COUNTED}.\n" and err == ""
    assert main(["image", "audit", "--verbose"]) == 0
    assert CONSUL.sha256 in capsys.readouterr().out


def test_scanners_get_cyclonedx(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "audit", "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["bomFormat"] == "CycloneDX"
    assert main(["image", "audit", "--output", "image.cdx.json"]) == 0
    assert capsys.readouterr().out == f"Wrote image.cdx.json: image 0123456789abcdef: {COUNTED}.\n"
    assert (folder / "image.cdx.json").read_text() == printed, "the same image, the same bytes"
    assert main(["image", "audit", "--json", "-o", "image.cdx.json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": "image.cdx.json"}


def test_a_file_that_cannot_be_written_keeps_its_content(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("old")
    assert main(["image", "audit", "-o", "file/image.json"]) == 1
    assert "expected to write file/image.json" in capsys.readouterr().err
    assert (folder / "file").read_text() == "old"


def test_a_difference_leaves_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(FOUND, problems=("consul: expected this, found that",), notes=("A note.",))
    monkeypatch.setattr(image, "contents", lambda *_: wrong)
    for words in ([], ["--json"]):
        assert main(["image", "audit", *words]) == 1
        assert capsys.readouterr().err == "A note.\n✗ consul: expected this, found that\n"


@pytest.mark.usefixtures("answered")
def test_later_versions_are_shown_and_a_silent_source_is_no_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", "audit", "--later"]) == 0
    out, err = capsys.readouterr()
    assert "later versions\nNAME    VERSION  LATER\nconsul  1.22.7   1.23.0\n" in lines(out)
    assert err == "not known: Debian: the mirror could not be asked (no route)\n"
    assert main(["image", "audit", "--later", "--json"]) == 0
    assert '"name": "tercet:later",\n          "value": "1.23.0"' in capsys.readouterr().out


def test_without_a_lock_file_it_says_what_makes_one(
    inventory_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inventory_file.parent)
    assert main(["image", "audit", "--output", "image.cdx.json"]) == 1
    assert capsys.readouterr().err == (
        "tercet: expected tercet's record of sources in tercet.lock.json, found no such file: `tercet up` makes it\n"
    )
    assert not Path("image.cdx.json").exists()
