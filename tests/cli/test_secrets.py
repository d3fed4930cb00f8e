"""`tercet secrets` and `tercet takeover`, as they are called."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from pyrage import x25519

from tercet.cli.main import main
from tercet.inventory.default import default_text
from tercet.inventory.sealing import VARIABLE, own_recipient
from tercet.inventory.secrets import Secrets, claim, load_or_create, peek

from .conftest import Tool


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the default inventory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tercet.yml").write_text(default_text(), encoding="utf-8")
    return tmp_path


@pytest.fixture
def made(folder: Path) -> Secrets:
    """Its secrets, encrypted for this operator."""
    return load_or_create(folder / "tercet.secrets.yml", (own_recipient(),))


def test_the_names_are_listed_without_their_values(made: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "list"]) == 0
    out = capsys.readouterr().out
    assert "postgres_application\n" in out and f"is encrypted for {own_recipient()}." in out
    assert not [value for value in made.texts.values() if value in out]
    assert main(["--json", "secrets", "list"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipients"] == [own_recipient()] and found["names"] == list(made.texts)


def test_one_secret_is_shown(made: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "show", "proxy_admin"]) == 0
    assert capsys.readouterr().out == f"{made.texts['proxy_admin']}\n"
    assert main(["secrets", "show", "proxy"]) == 1
    assert "found proxy: it has consul_gossip, " in capsys.readouterr().err


def test_a_password_is_set_from_standard_input(
    made: Secrets, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("another-one\n"))
    assert main(["secrets", "set", "proxy_admin"]) == 0
    assert "another-one" not in capsys.readouterr().out
    assert peek(folder / "tercet.secrets.yml").texts == {**made.texts, "proxy_admin": "another-one"}


def test_no_password_is_set_beside_a_platform_that_exists(
    made: Secrets, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would refuse the file, and the password that it has would be lost."""
    claim(folder / "tercet.secrets.yml", "tercet")
    monkeypatch.setattr("sys.stdin", io.StringIO("another-one\n"))
    monkeypatch.setattr("tercet.cli.commands.secrets.on_platform", lambda _call, _work: 9)
    assert main(["secrets", "set", "proxy_admin"]) == 1
    assert "found 9 containers of tercet: it would refuse the file" in capsys.readouterr().err
    assert peek(folder / "tercet.secrets.yml").texts == made.texts
    monkeypatch.setattr("tercet.cli.commands.secrets.on_platform", lambda _call, _work: 0)
    assert main(["secrets", "set", "proxy_admin"]) == 0


def test_without_a_file_each_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list"], ["show", "proxy_admin"], ["set", "proxy_admin"]):
        assert main(["secrets", *words]) == 1
        assert "found no such file: `tercet up` makes it" in capsys.readouterr().err


def test_takeover_leads_from_nothing_to_the_nodes(
    tool: Tool, inventory_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps on another machine: a key of one's own, the file, a file that opens, the nodes."""
    folder = inventory_file.parent
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    status, out, err = tool("takeover")
    public = own_recipient()
    assert status == 1 and out == f"Your public key: {public}\n"
    assert "found no such file: let another operator add your key to `secrets.recipients`" in err

    first = x25519.Identity.generate()
    theirs, mine = folder / "theirs", folder / "config" / "tercet" / "identity"
    theirs.write_text(f"{first}\n")
    theirs.chmod(0o600)
    path = folder / "tercet.secrets.yml"
    monkeypatch.setenv(VARIABLE, str(theirs))
    load_or_create(path, (own_recipient(),))
    monkeypatch.setenv(VARIABLE, str(mine))
    status, _, err = tool("takeover")
    what = f"let one of them add your key to `secrets.recipients` and run `tercet apply` ({public})"
    assert status == 1 and f"encrypted for others: {what}" in err

    monkeypatch.setenv(VARIABLE, str(theirs))
    load_or_create(path, (own_recipient(), public))
    monkeypatch.setenv(VARIABLE, str(mine))
    status, _, err = tool("takeover")
    assert status == 1 and "expected every node to answer, found none from consul-nomad-sib-01, " in err
