"""What a drill concludes from the platform's answers: roles, routes, numbers, and the promises only it can tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from tercet.components.dcs.status import DatacenterStatus
from tercet.components.nomad.status import NomadStatus
from tercet.components.patroni.status import MemberStatus, PostgresStatus
from tercet.converge.component import Passing, Readings, State, Waiting
from tercet.converge.requests import NO_ANSWER, Answer, Http
from tercet.drills import journal
from tercet.drills.run import live
from tercet.drills.run.questions import STABLE_S, disturbances, duration, primary_changes, role_changes, routes, view_of
from tercet.drills.scenario.file import built_in
from tercet.inventory.default import default_text
from tercet.inventory.journals import What
from tercet.inventory.load import parse
from tercet.inventory.platform import Platform
from tercet.observe.snapshot import Snapshot, snapshot_model


@pytest.fixture(scope="module")
def platform() -> Platform:
    return parse(default_text().encode(), Path("tercet.yml"))


def record(t: float, node: str, what: What) -> journal.Record:
    return journal.Record(t=t, node=node, component="patroni", what=what, text="")


def test_a_promotion_counts_from_when_writes_are_accepted() -> None:
    found = [
        record(3.0, "db-sib-01", What.READY),
        record(12.0, "db-sib-03", What.LOCK_TAKEN),
        record(12.4, "db-sib-03", What.READY),
        record(50.0, "db-sib-03", What.LOCK_TAKEN),  # took its own key again: no change
        record(60.0, "db-sib-01", What.LOCK_TAKEN),
    ]
    changes = primary_changes("db-sib-01", found)
    assert [(change.t, change.node) for change in changes] == [(0, "db-sib-01"), (12.4, "db-sib-03"), (60, "db-sib-01")]


def test_reads_belong_to_the_own_node_except_around_its_change_of_role(platform: Platform) -> None:
    changes = [journal.Primary(t=0, node="db-sib-01"), journal.Primary(t=20, node="db-sib-03")]
    roles = role_changes(changes, [])
    found = routes(platform, roles, frozenset({"db-sib-01"}), frozenset(), 16.0)
    by_site = {site: [(r.t, r.reads) for r in found if r.site == site] for site in ("sib-01", "sib-03", "fsn-01")}
    assert by_site == {
        "sib-01": [(0, ("db-sib-01",)), (16, ())],
        "sib-03": [(0, ("db-sib-03",)), (20 - STABLE_S, ()), (20 + STABLE_S, ("db-sib-03",))],
        "fsn-01": [(0, ("db-fsn-01",))],
    }


def test_a_primary_that_demoted_itself_and_leads_again_changed_its_role_twice(platform: Platform) -> None:
    found = [
        record(30.0, "db-sib-01", What.DEMOTED),
        record(33.0, "db-sib-01", What.LOCK_TAKEN),
        record(70.0, "db-sib-01", What.DEMOTED),
    ]
    changes = primary_changes("db-sib-01", found)
    assert changes == [journal.Primary(t=0, node="db-sib-01")]
    own = [
        (r.t, r.reads)
        for r in routes(platform, role_changes(changes, found), frozenset(), frozenset(), 0.0)
        if r.site == "sib-01"
    ]
    back = ("db-sib-01",)
    assert own == [(0, back), (30 - STABLE_S, ()), (33 + STABLE_S, back), (70 - STABLE_S, ()), (70 + STABLE_S, back)]


def spans_of(platform: Platform, found: list[journal.Record], disturbed: tuple[float, ...] = ()) -> list[float]:
    """When the reads of sib-01, the primary's site at first, are not judged and are judged again, in turn."""
    roles = role_changes(primary_changes("db-sib-01", found), found)
    every = routes(platform, roles, frozenset(), frozenset(), 0.0, disturbed=disturbed)
    return [route.t for route in every if route.site == "sib-01"][1:]


def test_reads_need_not_be_back_before_the_node_serves_in_its_new_role(platform: Platform) -> None:
    found = [
        record(30.0, "db-sib-01", What.DEMOTED),
        record(31.0, "db-sib-03", What.LOCK_TAKEN),
        record(45.0, "db-fsn-01", What.READY_READ_ONLY),  # another node's
        record(50.0, "db-sib-01", What.READY_READ_ONLY),
        record(90.0, "db-sib-01", What.READY_READ_ONLY),
    ]
    assert spans_of(platform, found) == [30 - STABLE_S, 50 + STABLE_S]


def test_a_server_of_dcs_that_fails_meanwhile_delays_the_reads_return(platform: Platform) -> None:
    found = [record(30.0, "db-sib-01", What.DEMOTED)]
    assert spans_of(platform, found, (10.0, 34.0, 41.0, 60.0)) == [30 - STABLE_S, 41 + STABLE_S]
    assert spans_of(platform, found, (39.0,)) == [30 - STABLE_S, 30 + STABLE_S]


def test_only_faults_of_the_servers_disturb_dcs(platform: Platform) -> None:
    def fault(t: float, *nodes: str) -> journal.Fault:
        return journal.Fault(t=t, action="injected", fault="killed", nodes=nodes)

    faults = [fault(4, "db-sib-01"), fault(5, "apps-sib-01", "consul-nomad-sib-01"), fault(6)]
    assert disturbances(platform, faults) == [5]


def test_reads_of_a_site_whose_apps_node_saw_no_database_may_come_from_anywhere(platform: Platform) -> None:
    found = routes(platform, {}, frozenset(), frozenset({"fsn-01"}), 6.0)
    assert [(r.t, r.reads) for r in found if r.site == "fsn-01"] == [(0, ("db-fsn-01",)), (6, ())]
    assert [(r.t, r.reads) for r in found if r.site == "sib-03"] == [(0, ("db-sib-03",))]


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("5s", 5), ("1m30s", 90), ("1.5s", 1.5), ("5000", 5), ("1min", 60), ("0s", 0)]
)
def test_durations_of_the_agents_are_read(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


def snapshot(primary: str | None) -> Snapshot:
    def member(node: str) -> MemberStatus:
        return MemberStatus(node=node, role="standby", state="streaming", lag_bytes=0, sync=True)

    return snapshot_model()(
        platform="tercet",
        healthy=True,
        sites=[],
        postgres=PostgresStatus(
            primary=primary, members=[member("db-fsn-01"), member("db-sib-01"), member("db-sib-03")], writable=True
        ),
        consul={"dcs": DatacenterStatus(leader="consul-nomad-sib-03", voters=3)},
        nomad=NomadStatus(leader=None, servers={}, clients={}),
        routes=[],
        conditions=[],
    )


def test_standbys_are_in_the_order_of_the_inventory(platform: Platform) -> None:
    session = SimpleNamespace(platform=platform)
    view = view_of(session, snapshot("db-sib-01"), "fsn-01")  # type: ignore[arg-type]
    assert view.standbys == ("db-sib-03", "db-fsn-01")
    assert (view.primary, view.dcs_leader, view.chosen) == ("db-sib-01", "consul-nomad-sib-03", "fsn-01")


SITE = frozenset({"consul-nomad-sib-01", "apps-sib-01", "db-sib-01"})


def judged(name: str, scene: live.Scene, answers: Mapping[str, Mapping[str, object]]) -> State:
    found = live.OBSERVED.get(name)
    assert found is not None
    check, asked = found.look(scene)
    state: State = Waiting("")
    for node, batch in answers.items():
        assert set(batch) <= set(asked[node]), "a question is answered that is not asked"
    told = {
        node: {question: Answer(200, json.dumps(value)) for question, value in batch.items()}
        for node, batch in answers.items()
    }
    for _ in range(live.HOLDS_LOOKS):  # what must last is Passing at the last of these
        state = check(Readings(told))
    return state


def members(**states: str) -> dict[str, object]:
    return {
        "Members": [
            {"Name": f"consul-nomad-{name.replace('_', '-')}.global", "Status": status, "Addr": f"100.64.0.{number}"}
            for number, (name, status) in enumerate(states.items(), 1)
        ]
    }


def test_nomad_keeps_a_leader(platform: Platform) -> None:
    scene = live.Scene(platform, SITE, "job")
    servers = members(sib_01="failed", sib_03="alive", fsn_01="alive")

    def answers(one: str, other: str) -> dict[str, dict[str, object]]:
        return {
            "consul-nomad-sib-03": {"nomad.leader": one, "nomad.servers": servers},
            "consul-nomad-fsn-01": {"nomad.leader": other, "nomad.servers": servers},
        }

    kept = judged("nomad keeps a leader", scene, answers("100.64.0.3:4647", "100.64.0.3:4647"))
    assert kept == Passing("consul-nomad-fsn-01 leads")
    gone = judged("nomad keeps a leader", scene, answers("100.64.0.1:4647", "100.64.0.1:4647"))
    assert gone == Waiting("consul-nomad-sib-01, which is gone, is still named as leader")
    none = judged("nomad keeps a leader", scene, answers("", "100.64.0.3:4647"))
    assert none == Waiting("consul-nomad-sib-03 know no leader")
    two = judged("nomad keeps a leader", scene, answers("100.64.0.2:4647", "100.64.0.3:4647"))
    assert two == Waiting("the servers disagree on the leader")


def test_what_must_go_on_is_looked_at_more_than_once(platform: Platform) -> None:
    found = live.OBSERVED.get("other catalogues answer")
    assert found is not None
    check, asked = found.look(live.Scene(platform, frozenset(), "job"))
    well = Readings({node: dict.fromkeys(questions, Answer(200, "[{}]")) for node, questions in asked.items()})
    states = [check(readings) for readings in (well, well, Readings({}), *[well] * live.HOLDS_LOOKS)]
    assert [isinstance(state, Passing) for state in states] == [False] * (2 + live.HOLDS_LOOKS) + [True]
    assert states[1] == Waiting(f"3 of them, and dcs, at 2 of {live.HOLDS_LOOKS} looks in a row")


def test_the_catalogue_must_name_one_primary_and_a_new_one(platform: Platform) -> None:
    scene = live.Scene(platform, frozenset({"db-sib-01"}), "job")

    def state(*names: str) -> State:
        listed = [{"Node": {"Node": name}} for name in names]
        controls = ("consul-nomad-sib-01", "consul-nomad-sib-03", "consul-nomad-fsn-01")
        return judged("the catalogue names the new primary", scene, {node: {"primary": listed} for node in controls})

    assert state("db-sib-03") == Passing("db-sib-03 is primary.proposalsapp")
    assert state() == Waiting("consul-nomad-sib-01's dcs names no node as primary")
    assert state("db-sib-01") == Waiting("dcs names db-sib-01 as primary")
    assert isinstance(state("db-sib-01", "db-sib-03"), Waiting)


def test_a_lost_nomad_server_must_be_seen_as_failed_by_all(platform: Platform) -> None:
    scene = live.Scene(platform, SITE, "job")

    def answers(one: str, other: str) -> dict[str, dict[str, object]]:
        return {
            "consul-nomad-sib-03": {"nomad.servers": members(sib_01=one)},
            "consul-nomad-fsn-01": {"nomad.servers": members(sib_01=other)},
        }

    assert isinstance(judged("nomad server seen as failed", scene, answers("failed", "failed")), Passing)
    late = judged("nomad server seen as failed", scene, answers("failed", "alive"))
    assert late == Waiting("consul-nomad-fsn-01 sees consul-nomad-sib-01 as alive")
    nobody = judged("nomad server seen as failed", live.Scene(platform, frozenset(), "job"), {})
    assert nobody == Waiting("the faults hit no Nomad server")


def test_allocations_count_where_they_really_run(platform: Platform) -> None:
    scene = live.Scene(platform, SITE, "job")

    def answers(*allocations: tuple[str, str, str]) -> dict[str, dict[str, object]]:
        told = [{"NodeName": n, "ClientStatus": c, "DesiredStatus": d} for n, c, d in allocations]
        return {"consul-nomad-sib-03": {"allocations": told}}

    lost = ("apps-sib-01", "running", "run")  # its client is silent, so its last word stands
    name = "allocations run elsewhere"
    assert isinstance(judged(name, scene, answers(lost)), Waiting)
    assert isinstance(judged(name, scene, answers(lost, ("apps-fsn-01", "pending", "run"))), Waiting)
    assert isinstance(judged(name, scene, answers(lost, ("apps-fsn-01", "running", "stop"))), Waiting)
    assert judged(name, scene, answers(lost, ("apps-fsn-01", "running", "run"))) == Passing("on apps-fsn-01")


def test_the_other_catalogues_must_answer(platform: Platform) -> None:
    scene = live.Scene(platform, frozenset({"consul-nomad-sib-03"}), "job")
    one: dict[str, dict[str, object]] = {"consul-nomad-sib-01": {"catalogue": [{}], "dcs": [{}]}}
    both = {**one, "consul-nomad-fsn-01": {"catalogue": [{}], "dcs": [{}]}}
    assert judged("other catalogues answer", scene, both) == Passing("2 of them, and dcs")
    assert judged("other catalogues answer", scene, one) == Waiting("consul-nomad-fsn-01 lists no nodes")
    without = {**both, "consul-nomad-fsn-01": {"catalogue": [{}], "dcs": []}}
    said = Waiting("consul-nomad-fsn-01 lists no nodes of dcs")
    assert judged("other catalogues answer", scene, without) == said
    nobody = live.Scene(platform, frozenset(node.name for node in platform.nodes), "job")
    assert judged("other catalogues answer", nobody, {}) == Waiting("the faults spare no Consul server")


def test_a_cut_off_sites_consul_must_go_on_by_itself(platform: Platform) -> None:
    name, scene = "its own catalogue goes on", live.Scene(platform, SITE, "job")
    whole: dict[str, dict[str, object]] = {
        "consul-nomad-sib-01": {"catalogue": [{}], "consul.leader": "100.64.0.1:8300"},
        "apps-sib-01": {"catalogue": [{}]},
        "db-sib-01": {"catalogue": [{}]},
    }
    assert judged(name, scene, whole) == Passing("dc1, at each of 3 nodes")
    unled = {**whole, "consul-nomad-sib-01": {"catalogue": [{}], "consul.leader": ""}}
    assert judged(name, scene, unled) == Waiting("consul-nomad-sib-01 has no leader")
    assert judged(name, scene, {**whole, "db-sib-01": {"catalogue": []}}) == Waiting("db-sib-01 lists no nodes")
    unhurt = live.Scene(platform, frozenset({"db-sib-01"}), "job")
    assert judged(name, unhurt, {}) == Waiting("the faults hit no Consul server")


def test_the_lost_servers_catalogue_must_be_gone_wherever_it_is_asked(platform: Platform) -> None:
    scene = live.Scene(platform, frozenset({"consul-nomad-sib-03", "db-sib-01"}), "job")
    gone = live.OBSERVED.get("its own catalogue is gone")
    assert gone is not None
    _, asked = gone.look(scene)
    paths = {
        node: batch["dc2"].path.removeprefix("/v1/") for node, batch in asked.items() if isinstance(batch["dc2"], Http)
    }
    assert paths == {
        "apps-sib-03": "catalog/nodes",
        "db-sib-03": "catalog/nodes",
        "consul-nomad-sib-01": "catalog/nodes?dc=dc2",
        "consul-nomad-fsn-01": "catalog/nodes?dc=dc2",
    }
    refused, lists = Answer(500, "No known Consul servers"), Answer(200, "[{}]")

    def state(edit: Mapping[str, Mapping[str, Answer]]) -> State:
        assert gone is not None
        check, _ = gone.look(scene)
        told = {node: {"dcs": lists, "dc2": refused, **edit.get(node, {})} for node in paths}
        states = [check(Readings(told)) for _ in range(live.HOLDS_LOOKS)]
        assert not isinstance(states[0], Passing), "one look is not enough"
        return states[-1]

    assert state({}) == Passing("dc2, at each of 4 nodes")
    assert state({"db-sib-03": {"dc2": Answer(-1, error="no whole answer within 2 s")}}) == state({})
    still = "db-sib-03 still lists the nodes of dc2"
    assert state({"db-sib-03": {"dc2": lists}}) == Waiting(still)
    silence = {"dcs": NO_ANSWER, "dc2": NO_ANSWER}
    unheard = "consul-nomad-fsn-01 lists no nodes of dcs either"
    assert state({"consul-nomad-fsn-01": silence}) == Waiting(unheard), "who is not heard proves nothing"
    unhurt = live.Scene(platform, frozenset({"db-sib-01"}), "job")
    spared = judged("its own catalogue is gone", unhurt, {})
    assert spared == Waiting("the faults hit no Consul server, or spare no node")


def test_the_job_begins_at_the_site_that_will_be_lost(platform: Platform) -> None:
    scene = live.Scene(platform, SITE, "drill-job")
    request = live.put_job(scene, "sib-01")
    job = json.loads(request.body)["Job"]
    assert job["Affinities"][0]["RTarget"] == "dc1"
    assert job["Datacenters"] == ["dc1", "dc2", "dc3"]
    assert job["TaskGroups"][0]["Count"] == 1
    condition, asked = live.job_runs_at(scene, "sib-01")
    assert set(asked) == {"consul-nomad-sib-01", "consul-nomad-sib-03", "consul-nomad-fsn-01"}
    told = [{"NodeName": "apps-sib-01", "ClientStatus": "running", "DesiredStatus": "run"}]
    assert (
        condition.check(Readings({"consul-nomad-fsn-01": {"allocations": Answer(200, json.dumps(told))}})) == Passing()
    )
    assert isinstance(condition.check(Readings({})), Waiting)
    assert isinstance(live.purge_job(scene), Http)


def test_every_promise_of_a_scenario_is_judged_by_somebody() -> None:
    from tercet.drills.judge.case import journaled

    for scenario in built_in().values():
        for name in scenario.expect.promises:
            assert (journaled.get(name) is not None) != (live.OBSERVED.get(name) is not None), name
