"""A component is a package and one line: the metronome of tests/sample_component is everywhere, and nobody knows it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tercet.cli.status_view import render_status
from tercet.components.context import Context
from tercet.components.dcs.component import Dcs, DcsAgents
from tercet.components.guard.component import Guard
from tercet.components.identity.fingerprint import Fingerprint
from tercet.components.patroni.component import Patroni
from tercet.components.patroni.parameters import Parameters
from tercet.components.registry import components, proofs
from tercet.converge.component import Component, Readings
from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import File, Object, Unit
from tercet.drills.judge.records import command, events
from tercet.drills.scenario import file as scenario
from tercet.drills.scenario.drawn import on_nodes
from tercet.drills.scenario.fault import Facts
from tercet.drills.scenario.targets import View
from tercet.errors import TercetError
from tercet.image import catalog
from tercet.inventory import components as declared
from tercet.inventory import providers
from tercet.inventory.default import default_text
from tercet.inventory.load import parse
from tercet.inventory.platform import Platform, Role
from tercet.inventory.schema import schema
from tercet.inventory.secrets import Secrets, load, load_or_create, names
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import conditions_of, questions, snapshot, snapshot_model, units_of
from tercet.operations.change import make_plan
from tercet.operations.support.redact import MASK, Redactor, known_secrets
from tercet.session.session import open_session
from tests.sample_component import additions
from tests.sample_component.declaration import BATON

PORT = "ports: {metronome: 7075}\n"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "COMPONENTS", (*declared.COMPONENTS, "tests.sample_component"))


def platform_of(more: str = "") -> Platform:
    return parse((default_text() + more).encode(), Path("tercet.yml"))


def parts_of(platform: Platform) -> tuple[Context, tuple[Component, ...]]:
    secrets = Secrets(dict.fromkeys(names(), "x"))
    context = Context(platform, secrets, timing_of(platform.settings), (), "pgpool")
    return context, components(context)


@pytest.mark.parametrize("model", ["PortsModel", "VersionsModel", "SourcesModel"])
def test_it_is_in_the_schema(model: str) -> None:
    assert "metronome" in schema()["$defs"][model]["properties"]


@pytest.mark.parametrize(
    ("port", "told"),
    [
        (4646, r"ports\.metronome: .*4646, which nomad_http also uses on apps nodes"),
        (7071, r"ports\.metronome: .*7071: the metronome's tuning fork hums there"),
        (0, r"ports\.metronome: expected"),
    ],
)
def test_its_port_is_checked(port: int, told: str) -> None:
    with pytest.raises(TercetError, match=told):
        platform_of(f"ports: {{metronome: {port}}}\n")


def test_the_others_ports_are_checked_against_what_it_reserves() -> None:
    with pytest.raises(TercetError, match=r"ports\.proxy: .*the metronome's tuning fork"):
        platform_of("ports: {proxy: 7071}\n")


def test_its_port_is_open_to_those_that_it_names() -> None:
    platform = platform_of(PORT)
    [firewall] = [each for each in parts_of(platform)[1] if each.name == "firewall"]
    [settings] = [
        json.loads(resource.content)
        for resource in firewall.desired(platform.node("apps-sib-01"))
        if isinstance(resource, File)
        and isinstance(resource.content, bytes)
        and resource.path.endswith("firewall.json")
    ]
    assert {"of": ["db-sib-01", "db-sib-03", "db-fsn-01"], "tcp": ["7075"], "udp": []} in settings["rules"]
    assert 7075 in settings["users"]["postgres"] and 7075 not in settings["users"][""]


def test_its_program_is_in_the_image() -> None:
    platform = platform_of("versions: {metronome: '4.5'}\n")
    [metronome] = [one for one in catalog.components(platform.settings, "pgpool") if one.name == "metronome"]
    assert metronome.version(platform.settings) == "4.5"


async def test_it_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, "tests.sample_provider"))
    inventory = tmp_path / "tercet.yml"
    text = default_text().replace("provider: lab ", "provider: paper ")
    more = f"paper: {{sheets: 9}}\ncache: {tmp_path / 'cache'}\ntailnet: {{auth_key: env:KEY}}\n"
    inventory.write_text(text + PORT + more)
    async with open_session(inventory) as session:
        plan = await make_plan(session)
    nodes = {step.node for step in plan.steps if step.component == "metronome"}
    assert nodes == {"apps-sib-01", "apps-sib-03", "apps-fsn-01"}


def test_its_unit_beats_at_the_port_of_the_inventory() -> None:
    platform = platform_of(PORT)
    resources = list(parts_of(platform)[1][-1].desired(platform.of(Role.APPS)[0]))
    assert [type(resource) for resource in resources] == [File, File, Unit]
    files = {resource.path: resource.content for resource in resources if isinstance(resource, File)}
    assert b"metronome 7075" in files["/etc/systemd/system/metronome.service"]


def test_its_secret_is_made_checked_and_taken_out_of_a_support_bundle(tmp_path: Path) -> None:
    path = tmp_path / "tercet.secrets.yml"
    made = load_or_create(path)
    baton = made.password(BATON)
    assert len(baton) >= 40 and load(path) == made and f"metronome_baton: {baton}" in path.read_text()
    assert Redactor(known_secrets(made, {})).clean(f"the baton is {baton}") == f"the baton is {MASK}"
    path.write_text(path.read_text().replace(baton, "it's"))
    with pytest.raises(TercetError, match="a character in metronome_baton that is neither"):
        load(path)


def test_its_secret_is_in_the_fingerprint() -> None:
    platform = platform_of()
    context, _ = parts_of(platform)
    [record] = Fingerprint(context).desired(platform.initial_primary)
    assert isinstance(record, Object) and "metronome_baton" in str(record.differs(Answer(0, "{}")))


def test_the_applications_user_cannot_have_the_name_of_its_own() -> None:
    with pytest.raises(TercetError, match=r"postgresql\.user: .*this name is PostgreSQL's or tercet's"):
        parse(default_text().replace("user: proposalsapp", "user: maelzel").encode(), Path("tercet.yml"))


def test_its_parameter_is_in_patronis_dynamic_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    context, _ = parts_of(platform_of())
    assert Patroni(context).dynamic()["postgresql"]["parameters"]["metronome.tempo"] == 90
    for name, other in (("max_connections", "200 and 7|7 and 200"), ("wal_log_hints", "on and 7")):
        monkeypatch.setattr(additions, "TEMPO", Parameters(lambda _, name=name: {name: 7}))
        with pytest.raises(ValueError, match=f"two components need different values of {name}: ({other})"):
            Patroni(context).dynamic()


def test_dcs_knows_its_service_where_it_runs() -> None:
    context, _ = parts_of(platform_of(PORT))
    known = {
        node.name: json.loads(resource.content)["services"]
        for node in context.platform.nodes
        for component in (Dcs(context), DcsAgents(context))
        for resource in component.desired(node)
        if isinstance(resource, File) and resource.path == "/etc/consul-dcs.d/services.json"
    }
    assert known["apps-sib-01"] == [{"name": "metronome", "port": 7075}]
    assert [service["name"] for service in known["db-sib-01"]] == ["proposalsapp", "proposalsapp"]
    assert "consul-nomad-sib-01" not in known


def test_the_guard_leaves_its_gossip_alone() -> None:
    platform = platform_of(PORT)
    files = [one for one in Guard(parts_of(platform)[0]).desired(platform.of(Role.APPS)[0]) if isinstance(one, File)]
    [guard] = [json.loads(one.content) for one in files if b"exempt_ports" in one.content and one.path.endswith("json")]
    assert 7075 in guard["exempt_ports"]


def test_status_shows_its_unit_and_its_condition() -> None:
    platform = platform_of()
    context, parts = parts_of(platform)
    readings = Readings({"apps-sib-01": {"beat": Answer(0, "")}})
    seen = snapshot(context, parts, units_of(parts, platform.containers), readings)
    assert {node.name for site in seen.sites for node in site.nodes if "metronome" in node.components} == {
        node.name for node in platform.of(Role.APPS)
    }
    [condition] = [one for one in seen.conditions if one.title == "metronome: it beats everywhere"]
    assert not condition.passing and condition.detail == "no beat at apps-sib-03, apps-fsn-01"


def test_status_has_its_table_and_json_and_the_schema_its_key() -> None:
    platform = platform_of()
    context, parts = parts_of(platform)
    readings = Readings({"apps-sib-01": {"beat": Answer(0, "")}})
    seen = snapshot(context, parts, units_of(parts, platform.containers), readings)
    assert seen.model_dump()["metronome"] == {"apps-sib-01": True, "apps-sib-03": False, "apps-fsn-01": False}
    assert "metronome" in snapshot_model().model_json_schema()["required"]
    out = io.StringIO()
    render_status(seen, Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines()]
    first = lines.index(["METRONOME", "BEATS"])
    assert lines[first + 1 : first + 4] == [["apps-sib-01", "yes"], ["apps-sib-03", "no"], ["apps-fsn-01", "no"]]


def test_verify_judges_its_proof_and_nothing_else_does() -> None:
    context, parts = parts_of(platform_of())
    proof = proofs(context)[-1]
    assert [condition.title for condition in proof.conditions] == ["metronome: it keeps the tempo"]
    assert set(proof.asked) == {"apps-sib-01", "apps-sib-03", "apps-fsn-01"}
    assert not {condition.title for condition in conditions_of(parts)} & {proof.conditions[0].title}


def test_what_it_asks_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _, parts = parts_of(platform_of())
    metronome = next(part for part in parts if part.name == "metronome")
    monkeypatch.setattr(type(metronome), "questions", lambda *_: {"patroni": Exec(("metronome",))})
    with pytest.raises(ValueError, match="metronome asks db-sib-01 something else by the name 'patroni'"):
        questions(parts, [node for node in platform_of().nodes if node.role is Role.DB])


@pytest.mark.parametrize(("proxy", "unit"), [("pgpool", "metronome.service"), ("pgcat", "baton.service")])
def test_drills_can_hit_its_process_and_know_what_that_costs(proxy: str, unit: str) -> None:
    platform = platform_of()
    view = View(platform, "db-sib-01", ("db-sib-03", "db-fsn-01"), "consul-nomad-sib-01")
    hit = {}
    for kind in ("crash", "hang"):
        text = f"name: m\ntitle: M\npromise: p.\nfaults:\n  - {kind}: metronome on apps at site sib-03\n".encode()
        [fault] = scenario.parse(text, "m.yml").faults
        hit[kind] = fault.fault(view, Facts(proxy, "proposalsapp"), 0)
        assert hit[kind].nodes == ("apps-sib-03",) and unit in repr(hit[kind].inject) and not fault.deafens
    assert (hit["crash"].sites, hit["hang"].sites) == (frozenset(), frozenset({"sib-03"}))


def test_a_soak_draws_its_process() -> None:
    assert "metronome on apps at site of a standby" in on_nodes()


def test_its_log_lines_are_in_the_timeline() -> None:
    assert "metronome.service" in command(0.0)
    said = {"__REALTIME_TIMESTAMP": "1000000", "_SYSTEMD_UNIT": "metronome.service", "MESSAGE": "missed beat 7"}
    [event] = events(json.dumps(said), "apps-sib-01")
    assert (event.component, event.what, event.subject) == ("metronome", "beat missed", "7")
