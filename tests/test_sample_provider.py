"""A provider is a package that one line names: nothing else in tercet knows of tests/sample_provider."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercet.cli.main import main
from tercet.converge.events import silent
from tercet.drills.run.drill import DrillError, run
from tercet.drills.scenario.file import built_in
from tercet.drills.soak.run import kinds_of
from tercet.errors import TercetError
from tercet.host import lock
from tercet.image import catalog
from tercet.image.build import Image, has_form
from tercet.inventory import providers
from tercet.inventory.default import default_text
from tercet.inventory.load import load
from tercet.inventory.schema import schema
from tercet.operations.change import make_plan
from tercet.operations.device import TITLE
from tercet.operations.doctor import examine
from tercet.session.session import open_session
from tests.sample_provider.declaration import PaperSiteModel

KEY = "tailnet: {auth_key: env:KEY}\n"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, "tests.sample_provider"))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "tercet.yml"
    text = default_text().replace("provider: lab ", "provider: paper ")
    file.write_text(f"{text}\npaper: {{sheets: 9}}\ncache: {tmp_path / 'cache'}\n{KEY}")
    return file


def test_it_is_in_the_schema() -> None:
    found = schema()
    assert found["properties"]["provider"]["enum"] == ["lab", "proxmox", "paper"]
    assert "paper" in found["properties"] and "paper" in found["$defs"]["SiteModel"]["properties"]


def test_its_keys_at_a_site_stand_beside_those_of_every_site(inventory: Path) -> None:
    assert schema()["$defs"]["SiteModel"]["properties"]["drawer"]["default"] == "top"
    inventory.write_text(inventory.read_text().replace("name: sib-03", "name: sib-03\n    drawer: bottom"))
    sites = load(inventory).settings.sites
    assert [site.keys_of(PaperSiteModel).drawer for site in sites] == ["top", "bottom", "top"]


def test_its_settings_are_checked(inventory: Path) -> None:
    inventory.write_text(inventory.read_text().replace("sheets: 9", "sheets: 0"))
    with pytest.raises(TercetError, match=r"paper\.sheets: expected paper to write on, found none"):
        load(inventory)


def test_it_joins_a_real_tailnet(inventory: Path) -> None:
    inventory.write_text(inventory.read_text().replace(KEY, ""))
    with pytest.raises(TercetError, match=r"tailnet\.auth_key or tailnet\.api_key"):
        load(inventory)


async def test_it_plans(inventory: Path) -> None:
    async with open_session(inventory) as session:
        plan = await make_plan(session)
    assert [change.what for change in plan.infrastructure[1:4]] == [
        "container consul-nomad-sib-01",
        "container apps-sib-01",
        "container db-sib-01",
    ]


async def test_its_lock_is_the_one_that_any_provider_can_have(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCKS", tmp_path)
    async with open_session(inventory) as session, session.provider.lock("ana: up"):
        with pytest.raises(TercetError, match=r"^the platform is being changed by ana: up \(process"):
            async with session.provider.lock("ben: up"):
                pytest.fail("two hold the lock")


async def test_doctor_asks_it(inventory: Path) -> None:
    async with open_session(inventory) as session:
        checks = await examine(session)
    assert [check.title for check in checks] == ["root", "mmdebstrap", "zstd", "paper", TITLE]
    assert checks[3].found == "9 sheets"


def test_the_list_of_drills_says_which_it_can_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "list", "--json"]) == 0
    providers = {drill["name"]: drill["providers"] for drill in json.loads(capsys.readouterr().out)}
    assert providers["node-frozen"] == ["lab", "proxmox", "paper"]
    assert providers["site-killed"] == ["lab", "proxmox"]
    assert providers["latency-jump"] == ["lab"]
    assert providers["patroni-killed"] == ["lab", "proxmox", "paper"], "such a fault is made on the node itself"


async def test_a_drill_that_it_cannot_make_is_refused_before_anything_is_touched(
    inventory: Path, tmp_path: Path
) -> None:
    journals = tmp_path / "journals"
    said = (
        "site-killed cannot be run here. It needs kill: the provider paper cannot do that. "
        "Run it with the provider lab or proxmox"
    )
    async with open_session(inventory) as session:
        with pytest.raises(DrillError, match=f"^{said}$"):
            await run(built_in()["site-killed"], session, site="", folder=journals, who="a test", emit=silent)
    assert not journals.exists()


async def test_a_soak_draws_what_it_can_make(inventory: Path) -> None:
    async with open_session(inventory) as session:
        assert await kinds_of(session, ("freeze", "crash")) == ("freeze", "crash")
        with pytest.raises(DrillError, match="kill is impossible here: the provider paper cannot do that"):
            await kinds_of(session, ("kill", "freeze"))


def test_it_chooses_its_image(inventory: Path, tmp_path: Path) -> None:
    """No headscale, since it makes no world; and an archive, which is not there before it is packed."""
    settings = load(inventory).settings
    assert "headscale" not in [each.name for each in catalog.components(settings, "pgpool")]
    image = Image("0123456789abcdef", tmp_path / "rootfs", (), "pgpool", "")
    form = providers.declaration("paper").image
    assert not has_form(image, form)
    image.archive.touch()
    assert has_form(image, form)
