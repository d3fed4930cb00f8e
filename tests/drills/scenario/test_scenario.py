"""Scenarios: the built-in ones are whole, one's own work the same, a bad one is refused with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tercet import inventory
from tercet.drills import promise
from tercet.drills.expect import BudgetName, seconds_of
from tercet.drills.scenario.fault import Hits, kinds
from tercet.drills.scenario.file import ScenarioError, built_in, find, load, parse
from tercet.drills.scenario.mechanism import Mechanism
from tercet.drills.scenario.model import Scenario, fault_of
from tercet.drills.scenario.targets import TargetError, View, is_target, nodes_of, process_of, site_of
from tercet.inventory.load import load as load_inventory
from tercet.inventory.model import BudgetsModel
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability

GOOD = """\
name: mine
title: Something breaks
promise: it holds
faults:
  - kill: the primary
    lasts: 10s
  - cut: [site of the primary, site of a standby]
    at: 5
"""


@pytest.fixture(scope="module")
def platform() -> Platform:
    return load_inventory(Path(inventory.__file__).parent / "default.yml")


@pytest.fixture
def view(platform: Platform) -> View:
    return View(platform, "db-sib-01", ("db-sib-03", "db-fsn-01"), "consul-nomad-fsn-01")


def test_every_failure_that_was_promised_has_a_drill() -> None:
    names = set(built_in())
    assert names >= {
        "site-killed",
        "site-cut",
        "site-cut-without-primary",
        "site-cut-patroni-killed",
        "site-frozen",
        "site-flapping",
        "primary-site-flapping",
        "link-cut",
        "link-cut-one-way",
        "node-killed",
        "node-frozen",
        "postmaster-killed",
        "postmaster-frozen",
        "patroni-killed",
        "patroni-frozen",
        "standby-patroni-hung",
        "consul-server-killed",
        "dcs-leader-killed",
        "proxy-killed",
        "consul-template-killed",
        "tailscaled-killed",
        "control-plane-gone",
        "standbys-lost",
        "standbys-frozen",
        "disk-full",
        "disk-full-everywhere",
        "cold-start",
        "switchover",
        "packet-loss",
        "packet-loss-at-the-primary",
        "link-flapping",
        "latency-jump",
        "postmaster-terminated",
        "disk-slow",
    }


@pytest.mark.parametrize("scenario", built_in().values(), ids=lambda scenario: scenario.name)
def test_a_built_in_scenario_is_complete(scenario: Scenario, view: View) -> None:
    assert scenario.promise.endswith((".", "!"))
    assert 15 <= scenario.seconds <= 90
    for fault in scenario.faults:
        for target in fault.targets:
            if is_target(target, "process"):
                assert process_of(target, view)
            elif fault.hits is not Hits.NODES:
                assert site_of(target, view)
            else:
                assert nodes_of(target, view)


def test_every_kind_of_fault_is_used_or_can_be() -> None:
    used = {fault.kind for scenario in built_in().values() for fault in scenario.faults}
    assert used == set(kinds())


def test_every_mechanism_and_promise_is_used() -> None:
    scenarios = built_in().values()
    assert {scenario.mechanism for scenario in scenarios} == set(Mechanism)
    assert {name for scenario in scenarios for name in scenario.expect.promises} == set(promise.names())


def test_budgets_are_those_of_the_inventory() -> None:
    assert set(get_args(BudgetName)) == set(BudgetsModel.model_fields)
    assert seconds_of("site_loss", BudgetsModel(site_loss=7)) == 7
    assert seconds_of(2.5, BudgetsModel()) == 2.5
    assert seconds_of("unjudged", BudgetsModel()) is None


def test_a_scenario_says_what_it_needs_of_the_provider() -> None:
    scenarios = built_in()
    assert scenarios["site-killed"].needs == {Capability.KILL}
    assert scenarios["link-cut"].needs == {Capability.CUT}
    assert scenarios["link-cut-one-way"].needs == {Capability.CUT_ONE_WAY}
    assert scenarios["node-frozen"].needs == {Capability.FREEZE}
    assert scenarios["disk-full"].needs == frozenset()
    assert scenarios["disk-slow"].needs == {Capability.SLOW_DISK}
    assert scenarios["packet-loss"].needs == {Capability.LOSS}
    assert scenarios["latency-jump"].needs == {Capability.LATENCY}
    assert scenarios["link-flapping"].needs == {Capability.CUT}
    assert scenarios["patroni-killed"].needs == frozenset()
    assert parse(GOOD.encode(), "mine.yml").needs == {Capability.KILL, Capability.CUT}


def test_a_scenario_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(GOOD)
    scenario = find(str(path))
    assert scenario == load(path)
    assert scenario.faults[0].lasts == 10
    assert scenario.faults[1].targets == ("site of the primary", "site of a standby")
    assert scenario.seconds == 5 + 25 + 5
    path.write_text(GOOD.replace("at: 5", "at: 5s"))
    assert load(path) == scenario


def test_a_fault_that_flaps_is_made_and_healed_in_turn_until_its_time_is_over() -> None:
    fault = fault_of(flap="site of a standby", every=2, at=1, lasts=9)
    assert fault.spells == ((1, 3), (5, 7), (9, 10))
    assert fault_of(cut_off="site of a standby", at=1, lasts=9).spells == ((1, 10),)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: Something breaks\n", "", ":1:1: title: expected the key title, found none\n    write title: The site"),
        ("title:", "titel:", ':2:1: titel: expected one of the keys name, title, promise, faults, mechanism, load, '
         'warm_up, observe, expect, found "titel"\n    write title: (did you mean this?)'),
        ("kill: the primary", "kill: the king", ":5:11: faults[0].kill: expected a site or nodes, such as: site of the "
         'primary, the primary, every standby, found "the king"'),
        ("    lasts: 10s", "    lasts: soon", ":6:12: faults[0].lasts: expected a duration above zero"),
        ("    lasts: 10s", "    percent: 10", ":5:5: faults[0]: expected percent with loss alone, not with kill"),
        ("kill: the primary", "loss: the primary", ":5:11: faults[0].loss: expected a site, such as"),
        ("kill: the primary", "loss: site of a standby\n    percent: 90", ":6:14: faults[0].percent: expected less "
         "than or equal to 30"),
        ("kill: the primary", "flap: [site of a standby, the primary]", "faults[0].flap[1]: expected a site, such as"),
        ("kill: the primary", "flap: [site of a standby, site of a standby]", "two different sites"),
        ("kill: the primary", "latency: site of a standby\n    to: 3s", "faults[0].to: expected less than or equal to"),
        ("    lasts: 10s", "    lasts: 400s", "expected a fault that lasts at most 300 s"),
        ("    lasts: 10s", "    freeze: the primary", ":5:5: faults[0]: expected exactly one of kill, freeze, cut_off, "
         "cut, cut_one_way, flap, loss, latency, crash, terminate, hang, hang_loop, hold_down, fill_disk, slow_disk, "
         "switchover in a fault, not kill and freeze"),
        ("kill: the primary", "lasts: 3s", "each key once"),
        ("  - kill: the primary\n    lasts: 10s\n", "  - lasts: 10s\n", "not none"),
        ("name: mine", "name: My Drill!", "a host name"),
        ("    at: 5", "    at: soon", "faults[1].at: expected seconds after the warm-up, such as 0, 2.5, 500ms or 10s, "
         'found "soon"'),
        ("    at: 5", "    at: -1", "faults[1].at: expected greater than or equal to 0"),
        ("site of a standby]", "site of nobody else]", ":7:32: faults[1].cut[1]: expected a site"),
        ("site of a standby]", "site of the primary]", ":7:5: faults[1]: expected two different sites, not site of the "
         "primary twice"),
        ("promise: it holds", "promise: it holds\nexpect: {writes: sometimes}", "expect.writes: expected site_loss, "),
        ("promise: it holds", "promise: it holds\nexpect: {promises: [no rain]}", "expect.promises[0]: expected"),
        ("faults:", "faults: &x", "expected a value, found the alias"),
        ("title: Something breaks", "title: [Something", "expected"),
    ],
)  # fmt: skip
def test_a_bad_scenario_is_refused_with_its_line(old: str, new: str, said: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    if new == "faults: &x":
        text = text + "more: *x\n"
    with pytest.raises(ScenarioError) as error:
        parse(text.encode(), "mine.yml")
    assert said in str(error.value)
    assert all(line.startswith(("mine.yml:", "    write ")) for line in str(error.value).splitlines())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kill: the primary", "kill: site sib-02", ":5:11: faults[0].kill: expected a site of this platform (sib-01, "
         'sib-03, fsn-01), found "sib-02"\n    write kill: site sib-0'),
        ("kill: the primary", "freeze: node db-fsn-1", ":5:13: faults[0].freeze: expected a node of this platform "
         "(world, consul-nomad-sib-01, apps-sib-01, db-sib-01, consul-nomad-sib-03, apps-sib-03, db-sib-03, "
         'consul-nomad-fsn-01, apps-fsn-01, db-fsn-01), found "db-fsn-1"\n    write freeze: node db-fsn-01'),
        ("kill: the primary", "crash: patroni on db at site nowhere", ":5:12: faults[0].crash: expected a site of this "
         'platform (sib-01, sib-03, fsn-01), found "nowhere"\n    write crash: patroni on db at site sib-01'),
        ("site of a standby]", "site fsn]", ":7:32: faults[1].cut[1]: expected a site of this platform (sib-01, "
         'sib-03, fsn-01), found "fsn"\n    write site fsn-01'),
    ],
)  # fmt: skip
def test_what_the_platform_has_not_is_refused_with_its_line(
    old: str, new: str, said: str, platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(GOOD.replace(old, new, 1))
    assert load(path), "without a platform nobody knows"
    with pytest.raises(ScenarioError) as error:
        find(str(path), platform)
    assert str(error.value).startswith(f"{path}{said}")


def test_every_target_that_the_platform_has_not_is_told_at_once(platform: Platform) -> None:
    text = GOOD.replace("kill: the primary", "kill: site x").replace("site of a standby", "site y")
    with pytest.raises(ScenarioError) as error:
        parse(text.encode(), "mine.yml", platform)
    assert [line[:11] for line in str(error.value).splitlines()[::2]] == ["mine.yml:5:", "mine.yml:7:"]
    good = parse(GOOD.replace("kill: the primary", "kill: node db-fsn-01").encode(), "mine.yml", platform)
    assert good.faults[0].targets == ("node db-fsn-01",)


def test_a_control_plane_out_of_reach_is_refused_with_its_line(platform: Platform) -> None:
    text = GOOD.replace("kill: the primary", "kill: the control plane").encode()
    assert parse(text, "mine.yml", platform)
    elsewhere = replace(platform, settings=platform.settings.model_copy(update={"provider": "proxmox"}))
    with pytest.raises(ScenarioError, match=r"^mine.yml:5:11: .* only the provider lab makes a control plane"):
        parse(text, "mine.yml", elsewhere)


def test_a_single_bad_fault_complains_once() -> None:
    text = "name: mine\ntitle: x\npromise: y.\nfaults:\n  - kill: the king\n"
    with pytest.raises(ScenarioError) as error:
        parse(text.encode(), "mine.yml")
    assert str(error.value).count("mine.yml:") == 1
    assert "mine.yml:5:11: faults[0].kill" in str(error.value)


def test_a_bad_budget_complains_once() -> None:
    with pytest.raises(ScenarioError) as error:
        parse((GOOD + "expect:\n  writes: sometimes\n").encode(), "mine.yml")
    assert str(error.value).count("mine.yml:") == 1
    assert "mine.yml:10:11: expect.writes" in str(error.value)
    assert "write writes: unjudged, 4s, or the name of a budget" in str(error.value)


def test_an_unknown_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean site-killed"):
        find("site-kiled")
    with pytest.raises(ScenarioError, match="tercet drill list"):
        find("zzz")
    with pytest.raises(ScenarioError, match="cannot be read"):
        find(str(tmp_path / "none.yml"))
    with pytest.raises(ScenarioError, match=r"empty\.yml:1:1: expected a scenario"):
        parse(b"", "empty.yml")


def test_sites_and_nodes_are_found(view: View) -> None:
    assert site_of("site of the primary", view) == "sib-01"
    assert site_of("site fsn-01", view) == "fsn-01"
    assert nodes_of("site of the primary", view) == ("consul-nomad-sib-01", "apps-sib-01", "db-sib-01")
    assert nodes_of("every standby", view) == ("db-sib-03", "db-fsn-01")
    assert len(nodes_of("every site", view)) == 9
    assert nodes_of("the dcs leader", view) == ("consul-nomad-fsn-01",)
    assert nodes_of("the control plane", view) == ("world",)
    assert nodes_of("apps at site of the other standby", view) == ("apps-fsn-01",)
    assert nodes_of("node db-fsn-01", view) == ("db-fsn-01",)
    assert process_of("patroni on the primary", view) == ("patroni", "db-sib-01")
    assert process_of("consul on consul-nomad at site of a standby", view) == ("consul", "consul-nomad-sib-03")


def test_the_chosen_site_decides_which_standby(platform: Platform) -> None:
    view = View(platform, "db-sib-01", ("db-sib-03", "db-fsn-01"), "", "fsn-01")
    assert nodes_of("a standby", view) == ("db-fsn-01",)
    assert nodes_of("the other standby", view) == ("db-sib-03",)
    there = View(platform, "db-sib-01", ("db-sib-03", "db-fsn-01"), "", "sib-01")
    with pytest.raises(TargetError, match="found the primary there"):
        nodes_of("a standby", there)


def test_a_target_that_is_not_there_is_an_error(platform: Platform) -> None:
    nobody = View(platform, "", (), "")
    for target in ("the primary", "a standby", "the other standby", "the dcs leader", "node x", "site x"):
        with pytest.raises(TargetError, match="expected"):
            nodes_of(target, nobody)
