"""A kind of fault is one file: tests/sample_fault/busy.py in the folder of kinds is all that a fault takes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.cli.main import main
from tercet.drills.discovery import discover
from tercet.drills.scenario import fault, faults
from tercet.drills.scenario.fault import kinds, register
from tercet.drills.scenario.file import ScenarioError, parse
from tercet.drills.scenario.model import fault_of
from tercet.drills.soak.draw import compatible, describe, draw, sites_of
from tercet.drills.soak.rules import survived
from tercet.drills.soak.run import kinds_of
from tercet.drills.soak.summary import Round, Summary, as_rows
from tercet.inventory.platform import Platform
from tests import sample_fault
from tests.drills.run.test_drill import Fake, FakeSession, drill, fake  # noqa: F401

FILE = "name: mine\ntitle: x\npromise: y.\nwarm_up: 0.1\nobserve: 0.1\nexpect: {reads: unjudged}\nfaults:\n  - %s\n"


@pytest.fixture
def sample() -> Iterator[None]:
    """The folder of the sample is one more of the kinds' folder; afterwards the kinds are those before."""
    before = dict(kinds())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "__path__", [*faults.__path__, *sample_fault.__path__])
        patch.setattr(fault, "_KINDS", before)
        importlib.invalidate_caches()
        discover.cache_clear()
        yield
    sys.modules.pop(f"{faults.__name__}.busy", None)


def refused(text: str) -> str:
    with pytest.raises(ScenarioError) as error:
        parse((FILE % text).encode(), "mine.yml")
    return str(error.value)


def test_without_its_file_nobody_knows_it() -> None:
    assert "faults[0].busy: expected one of the keys kill, freeze, " in refused("busy: a standby")


@pytest.mark.usefixtures("sample")
def test_a_scenario_can_name_it() -> None:
    (read,) = parse((FILE % "{busy: the primary, share: 50, at: 2s, lasts: 3s}").encode(), "mine.yml").faults
    assert read == fault_of(busy="the primary", share=50, at=2, lasts=3)
    assert (read.kind, read.targets, read.spells) == ("busy", ("the primary",), ((2, 5),))


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bsy: a standby", "slow_disk, switchover, busy, at, lasts, every, percent, to, share, found"),
        ("bsy: a standby", "write busy: (did you mean this?)"),
        ("busy: nobody", "faults[0].busy: expected a node, such as: the primary"),
        ("busy: nobody", "write busy: a standby"),
        ("{busy: a standby, share: 5}", "faults[0].share: expected greater than or equal to 10"),
        ("{busy: a standby, share: 5}", "write share: 150"),
        ("{kill: a standby, share: 50}", "expected share with busy alone, not with kill"),
        ("{busy: a standby, percent: 15}", "expected percent with loss alone, not with busy"),
        ("{busy: a standby, kill: a standby}", "switchover, busy in a fault, not kill and busy"),
    ],
)
def test_errors_know_it(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.usefixtures("sample")
async def test_a_drill_makes_and_heals_it(fake: Fake, tmp_path: Path) -> None:  # noqa: F811
    asked = parse((FILE % "{busy: a standby, share: 50, lasts: 0.3}").encode(), "mine.yml")
    await drill(fake, tmp_path, asked)
    timer, make, heal = fake.session.provider.done
    assert "--on-active=30.3s" in timer and "systemctl stop tercet-busy-1" in timer
    assert "CPUQuota=50%" in make and make.endswith(" on db-sib-03")
    assert heal.startswith("systemctl stop tercet-busy-1; ")
    assert "db-sib-03 busy by 50 %" in [event.text for event in fake.events]


@pytest.mark.usefixtures("sample")
async def test_a_soak_draws_it(platform: Platform) -> None:
    wanted = await kinds_of(FakeSession(platform), ())  # type: ignore[arg-type]
    assert wanted[-1] == "busy"
    drawn = [each for number in range(1, 400) for each in draw(1, number, wanted, platform)]
    found = {describe(each).rpartition(" % ")[0] for each in drawn if each.kind == "busy"}
    assert found == {"busy 50", "busy 200"}
    one = fault_of(busy="a standby", share=200)
    assert sites_of(one, platform) == {"sib-03"} and survived([one], platform)
    assert not compatible(one, fault_of(kill="a standby"), platform)
    assert compatible(one, fault_of(kill="the primary"), platform)
    round_ = Round(1, (one,), True, 30.0, 1.5, 8.0, 300, 0, 0, ())
    assert as_rows(Summary("t", 1, wanted, 1, (round_,), (), True))[0][:2] == ("busy", "1")


@pytest.mark.usefixtures("sample")
def test_the_soaks_option_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "soak", "--kinds", "busy,rain"]) != 0
    assert "slow_disk, switchover, busy, found rain" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("sample")
def test_a_name_or_a_place_that_is_taken_is_refused() -> None:
    busy = kinds()["busy"]
    for kind, place in (("busy", 1001), ("lazy", 1000)):
        with pytest.raises(ValueError, match=f"{kind} at place {place}: there is busy at place 1000"):
            register(type("Other", (busy,), {"kind": kind, "place": place}))
