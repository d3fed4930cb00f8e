"""Conditions are pure: a reading in, a state out. The answers are shaped like those of the real programs."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest

from tercet.components.consul import component as consul
from tercet.components.context import Context
from tercet.components.dcs import component as dcs
from tercet.components.guard.component import Guard
from tercet.components.nomad import component as nomad
from tercet.components.patroni import component as patroni
from tercet.components.patroni.application import CHANGE, CHANGE_LOGIN, Application
from tercet.components.patroni.sentinel import Sentinel
from tercet.components.patroni.settings import Restarts, _config_differs, _restart_needed, restarts_of_lowered
from tercet.components.patroni.wake import is_remote
from tercet.components.permission import nobody_has_data
from tercet.components.proxy.component import Proxy, Routes, routes_of
from tercet.components.proxy.flavour import preference
from tercet.components.registry import components
from tercet.components.tailscale import component as tailscale
from tercet.converge.component import Condition, Deviating, Passing, Readings, Skipped, Waiting
from tercet.converge.requests import NO_ANSWER, Answer
from tercet.converge.resources import Object
from tercet.inventory.platform import Role


def ok(data: Any) -> Answer:
    return Answer(200, json.dumps(data))


def members(names: list[str], failed: str = "") -> Answer:
    return ok([{"Name": name, "Status": 4 if name == failed else 1} for name in names])


def test_tailnet_is_complete_only_when_everybody_sees_everybody(context: Context) -> None:
    names = [node.name for node in context.platform.nodes]

    def status(name: str, missing: str = "") -> Answer:
        peers = {other: {"HostName": other} for other in names if other not in (name, missing)}
        return Answer(0, json.dumps({"BackendState": "Running", "Peer": peers}))

    (condition,) = tailscale.Tailscale(context).healthy()
    whole = Readings({name: {"tailscale": status(name)} for name in names})
    assert isinstance(condition.check(whole), Passing)
    broken = Readings({name: {"tailscale": status(name, names[4])} for name in names})
    state = condition.check(broken)
    assert isinstance(state, Waiting) and names[4] in state.reason
    assert isinstance(condition.check(Readings({})), Waiting)


def test_hosts_file_names_every_node_and_waits_for_every_address(context: Context) -> None:
    component = tailscale.Tailscale(context)
    answers = {
        node.name: Answer(0, json.dumps({"TailscaleIPs": [f"100.64.0.{i}", "fd7a::1"]}))
        for i, node in enumerate(context.platform.nodes, 1)
    }
    text = component._hosts(answers).decode()
    assert "100.64.0.3 db-sib-01\n" in text and text.count("100.64.0.") == 9
    answers["db-sib-03"] = Answer(1, "", "no current Tailscale IPs; state: NeedsLogin")
    try:
        component._hosts(answers)
    except LookupError as error:
        assert "db-sib-03" in str(error)
    else:
        raise AssertionError("an address that is not there was accepted")


def test_hosts_keeps_the_address_that_the_others_have_for_a_node_that_is_away(context: Context) -> None:
    names = [node.name for node in context.platform.nodes]
    addresses = {name: f"100.64.0.{i}" for i, name in enumerate(names, 1)}

    def status(name: str, *stale: str) -> Answer:
        peers = [{"HostName": other, "TailscaleIPs": [addresses[other], "fd7a::1"]} for other in names if other != name]
        peers += [{"HostName": "db-fsn-01", "TailscaleIPs": [address]} for address in stale]
        own = {"TailscaleIPs": [addresses[name]], "Peer": {str(i): peer for i, peer in enumerate(peers)}}
        return Answer(0, json.dumps(own))

    component = tailscale.Tailscale(context)
    whole = component._hosts({name: status(name) for name in names})
    rest = {name: status(name) for name in names if name != "db-fsn-01"}
    assert component._hosts(rest) == whole
    for answers in ({**rest, "apps-sib-01": status("apps-sib-01", "100.64.0.77")}, {names[0]: Answer(1)}):
        with pytest.raises(LookupError):
            component._hosts(answers)
    silent = {**rest, "db-fsn-01": NO_ANSWER}  # it is to be started, and may come up with another address
    with pytest.raises(LookupError, match="db-fsn-01 has no tailnet address yet"):
        component._hosts(silent)


def test_what_is_away_is_not_judged_and_the_others_are(context: Context) -> None:
    """Every condition passes or says that it cannot be asked, while all of a site is away; none passes on nothing."""
    platform = context.platform
    gone = frozenset(node.name for node in platform.nodes if node.site == "fsn-01")
    names = [node.name for node in platform.nodes if node.name not in gone]
    controls = [node.name for node in platform.of(Role.CONTROL)]
    raft = ok({"Servers": [{"Node": name, "Leader": name == controls[0], "Voter": True} for name in controls]})
    servers = [
        {"Name": f"{name}.global", "Status": "failed" if name in gone else "alive", "Addr": ""} for name in controls
    ]
    clients = [
        {"Name": f"apps-{site.name}", "Status": "down" if site.name == "fsn-01" else "ready"} for site in platform.sites
    ]
    wan = members([f"{control}.{site.datacenter}" for control, site in zip(controls, platform.sites, strict=True)])
    addresses = {"db-sib-01": "100.64.0.1", "db-sib-03": "100.64.0.2"}
    hosts = "".join(f"{address} {name}\n" for name, address in addresses.items())
    rooms = ok([{"Key": f"tercet/room/{name}", "Value": base64.b64encode(b"roomy").decode()} for name in addresses])
    primary = addresses["db-sib-01"]
    routes = f"read\n{{local}}\nwrite\n{primary}\ntransaction\n{primary}\n"
    answers: dict[str, dict[str, Answer]] = {}
    for name in names:
        peers = {other: {"HostName": other} for other in names if other != name}
        answers[name] = {
            "tailscale": ok({"BackendState": "Running", "Peer": peers}),
            "guard": Answer(0, "active"),
            "firewall": Answer(0, "type filter hook input priority filter; policy drop;"),
            "watchdog": Answer(0, "active"),
            "follow": Answer(0, "active"),
            "restored": Answer(0),
            "dcs.members": members(names),
            "dcs.leader": ok("100.64.0.1:9300"),
            "dcs.peers": raft,
            "consul.leader": ok("100.64.0.1:8300"),
            "consul.lan": members([other for other in names if other.endswith(name[-6:])]),
            "consul.wan": wan,
            "nomad.leader": ok("100.64.0.1:4647"),
            "nomad.servers": ok({"Members": servers}),
            "nomad.clients": ok(clients),
            "patroni": cluster(db_sib_01="running", db_sib_03="streaming", db_fsn_01="stopped"),
            "read_only": Answer(0, "off"),
            "headscale": Answer(0),
            "rooms": rooms,
            "routes": Answer(0, f"{hosts}{routes}".format(local=addresses[f"db-{name[-6:]}"])),
        }
    answers["world"] = {"headscale": Answer(0)}
    conditions = [condition for component in components(context) for condition in component.healthy()]
    states = {c.title: c.check(Readings(answers, away=gone)) for c in conditions}
    assert not {title: state for title, state in states.items() if isinstance(state, Waiting)}
    assert {title for title, state in states.items() if isinstance(state, Skipped)} == {
        "dc3: a leader and all three members",
        "apps-fsn-01: reads stay at the site, writes reach the primary",
    }
    assert sum(isinstance(c.check(Readings(answers)), Waiting) for c in conditions) >= 8, (
        "nothing is away: it is missed"
    )
    lost = {name: {} if name == "apps-sib-03" else batch for name, batch in answers.items()}
    waiting = [c.title for c in conditions if isinstance(c.check(Readings(lost, away=gone)), Waiting)]
    assert len(waiting) == 6, "another node's silence is no excuse"


@pytest.mark.parametrize(
    "claim", ["10.0.0.5", "fd7a::7", "127.0.0.1", "100.64.0.9 db-sib-01\n100.64.0.66", "100.64.0.300", "db-sib-01"]
)
def test_a_node_that_claims_a_strange_address_is_named_and_holds_up_nobody(context: Context, claim: str) -> None:
    component = tailscale.Tailscale(context)
    names = [node.name for node in context.platform.nodes]
    answers = {
        name: ok(
            {
                "BackendState": "Running",
                "TailscaleIPs": [claim if name == "apps-sib-03" else f"100.64.0.{i}"],
                "Peer": {other: {"HostName": other} for other in names},
            }
        )
        for i, name in enumerate(names, 1)
    }
    lines = component._hosts(answers).decode().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("100.64.")] == [n for n in names if n != "apps-sib-03"]
    assert not [line for line in lines if line.endswith("apps-sib-03") or line.endswith("66")]
    (condition,) = component.healthy()
    state = condition.check(Readings({name: {"tailscale": answer} for name, answer in answers.items()}))
    assert state == Waiting(f"apps-sib-03 claims {[claim]}: expected an IPv4 address within 100.64.0.0/10")


def test_a_datacenter_needs_its_leader_and_its_three_members(context: Context) -> None:
    condition = next(iter(consul.Consul(context).healthy()))
    site = ["consul-nomad-sib-01", "apps-sib-01", "db-sib-01"]
    good = {"consul.leader": ok("100.64.0.1:8300"), "consul.lan": members(site)}
    assert isinstance(condition.check(Readings({site[0]: good})), Passing)
    no_leader = {**good, "consul.leader": ok("")}
    assert isinstance(condition.check(Readings({site[0]: no_leader})), Waiting)
    dead = {**good, "consul.lan": members(site, failed="db-sib-01")}
    state = condition.check(Readings({site[0]: dead}))
    assert isinstance(state, Waiting) and "db-sib-01" in state.reason


def test_dcs_needs_three_voters_and_a_leader_known_by_all(context: Context) -> None:
    condition = next(iter(dcs.Dcs(context).healthy()))
    controls = [node.name for node in context.platform.of(Role.CONTROL)]

    def readings(voters: int, knows: int = 3) -> Readings:
        servers = [{"Node": name, "Leader": i == 1, "Voter": i < voters} for i, name in enumerate(controls)]
        raft = ok({"Servers": servers})
        return Readings(
            {n: {"dcs.leader": ok("x" if i < knows else ""), "dcs.peers": raft} for i, n in enumerate(controls)}
        )

    assert condition.check(readings(3)) == Passing(controls[1])
    assert isinstance(condition.check(readings(2)), Waiting)
    assert isinstance(condition.check(readings(3, knows=2)), Waiting)


def test_a_dcs_whose_servers_all_lost_their_data_says_what_to_do(context: Context) -> None:
    condition = next(iter(dcs.Dcs(context).healthy()))
    first, *others = [node.name for node in context.platform.of(Role.CONTROL)]
    empty = {"dcs.leader": ok(""), "dcs.raft": ok([])}
    state = condition.check(Readings({first: empty, **dict.fromkeys(others, empty)}))
    assert isinstance(state, Waiting) and "tercet recover dcs" in state.reason
    # One that has a Raft, or does not say, can still bring it back.
    for rest in ({"dcs.leader": ok(""), "dcs.raft": ok(["100.64.0.2:9300"])}, {"dcs.leader": ok("")}):
        state = condition.check(Readings({first: empty, **dict.fromkeys(others, rest)}))
        assert isinstance(state, Waiting) and "tercet recover dcs" not in state.reason


def test_a_dcs_that_knows_no_cluster_is_said(context: Context) -> None:
    (condition,) = patroni.Patroni(context).healthy()
    answers = {"patroni": NO_ANSWER, "patroni.recorded": Answer(404, "")}
    state = condition.check(Readings({"db-sib-01": answers}))
    assert isinstance(state, Waiting) and "tercet recover dcs" in state.reason


def test_a_server_that_was_restored_from_an_old_copy_is_said(context: Context) -> None:
    _, condition = Guard(context).healthy()
    controls = [node.name for node in context.platform.of(Role.CONTROL)]
    assert isinstance(condition.check(Readings({name: {"restored": Answer(0, "")} for name in controls})), Passing)
    assert isinstance(condition.check(Readings({})), Waiting)
    said = {name: {"restored": Answer(0, "640\n" if name == controls[1] else "")} for name in controls}
    state = condition.check(Readings(said))
    assert isinstance(state, Waiting) and f"{controls[1]} came back from a copy that was 640 s old" in state.reason


def test_nomad_clients_a_living_entry_hides_the_dead_one_of_the_same_name() -> None:
    clients = ok([{"Name": "apps-sib-01", "Status": "ready"}, {"Name": "apps-sib-01", "Status": "down"}])
    assert nomad.clients_of(Readings({"c": {"nomad.clients": clients}}), ["c"]) == {"apps-sib-01": "ready"}


def cluster(**states: str) -> Answer:
    roles = {"running": "leader", "streaming": "quorum_standby"}
    return ok(
        {
            "members": [
                {"name": n.replace("_", "-"), "role": roles.get(s, "replica"), "state": s} for n, s in states.items()
            ]
        }
    )


def test_replication_needs_a_primary_and_every_standby_streaming(context: Context) -> None:
    (condition,) = patroni.Patroni(context).healthy()

    def judged(answer: Answer) -> object:
        return condition.check(Readings({"db-sib-01": {"patroni": answer}}))

    assert judged(cluster(db_sib_01="running", db_sib_03="streaming", db_fsn_01="streaming")) == Passing(
        "db-sib-01 is primary"
    )
    for bad in (
        cluster(db_sib_01="running", db_sib_03="streaming", db_fsn_01="starting"),
        cluster(db_sib_01="running", db_sib_03="streaming"),
        cluster(db_sib_01="starting", db_sib_03="streaming", db_fsn_01="streaming"),
        NO_ANSWER,
    ):
        assert isinstance(judged(bad), Waiting)


def test_standbys_of_a_cluster_that_ran_alone_stream_before_they_count(context: Context) -> None:
    """They are copied first, which may take hours; the setting comes after."""
    (gate,), (confirmed,) = patroni.Patroni(context).healthy(), patroni.Patroni(context).confirmed()
    members = {"db-sib-01": "leader", "db-sib-03": "replica", "db-fsn-01": "replica"}
    listed = [{"name": n, "role": r, "state": "running" if r == "leader" else "streaming"} for n, r in members.items()]

    def judged(condition: Condition, mode: object) -> object:
        answers = {"patroni": ok({"members": listed}), "patroni.config": ok({"synchronous_mode": mode})}
        return condition.check(Readings({"db-sib-01": answers}))

    assert isinstance(judged(gate, False), Passing)
    assert isinstance(judged(gate, "quorum"), Waiting), "elsewhere they must count before another one is disturbed"
    assert isinstance(judged(confirmed, False), Waiting)


def test_dynamic_configuration_is_compared_setting_by_setting(context: Context) -> None:
    wanted = patroni.Patroni(context).dynamic()
    assert _config_differs(wanted, ok(wanted)) is None
    assert _config_differs(wanted, ok({**wanted, "ttl": 30})) == "ttl is 30, wanted 20"
    assert _config_differs(wanted, ok({**wanted, "pause": True})) == "pause is True, not set by the inventory"
    without = {key: value for key, value in wanted.items() if key != "failsafe_mode"}
    assert _config_differs(wanted, ok(without)) == "failsafe_mode is not set, wanted True"
    as_text = json.loads(json.dumps(wanted))
    as_text["postgresql"]["parameters"]["max_connections"] = "200"
    assert _config_differs(wanted, ok(as_text)) is None
    assert _config_differs(wanted, NO_ANSWER) is None, "before the cluster exists there is nothing to change"


def test_a_cluster_is_created_only_where_nobody_holds_data() -> None:
    empty, data = Answer(0, "empty\n"), Answer(0, "data\n")
    assert nobody_has_data({"db-sib-03": empty, "db-fsn-01": empty}) is None
    assert "holds a database" in (nobody_has_data({"db-sib-03": data, "db-fsn-01": empty}) or "")
    assert "did not say" in (nobody_has_data({"db-sib-03": NO_ANSWER, "db-fsn-01": empty}) or "")


def pending(role: str, primary: int, new: str) -> Answer:
    reason = {"max_connections": {"old_value": "120", "new_value": new}}
    values = [f"max_connections {primary}", "max_wal_senders 10"]
    member = {"role": role, "pending_restart": True, "pending_restart_reason": reason, "values_of_primary": values}
    return Answer(0, json.dumps(member))


def test_pending_restart_names_the_setting() -> None:
    assert _restart_needed(ok({"pending_restart": False})) is None
    assert _restart_needed(pending("replica", 100, "120")) == "max_connections needs a restart of PostgreSQL"
    assert _restart_needed(NO_ANSWER) is None


def test_a_standby_is_restarted_for_a_lower_value_only_after_the_primary() -> None:
    assert _restart_needed(pending("replica", 120, "100")) is None
    assert _restart_needed(pending("primary", 120, "100"))
    assert _restart_needed(pending("replica", 100, "100"))


def test_standbys_follow_the_restart_of_a_primary_wherever_it_is(context: Context) -> None:
    first = [each for node in context.platform.nodes for each in Restarts(context).desired(node)]
    second = [each for node in context.platform.nodes for each in restarts_of_lowered(context).desired(node)]
    assert len(first) == len(second) == 3
    for each in second:
        assert isinstance(each, Object)
        assert set(each.follows) == {restart.target.name for restart in first}


@pytest.mark.parametrize("which", [0, 1])
def test_the_application_and_its_second_login_belong_to_the_primary(context: Context, which: int) -> None:
    wanted = [each for node in context.platform.nodes for each in Application(context).desired(node)][which]
    assert isinstance(wanted, Object)
    standby, refused = Answer(0, "standby\n"), Answer(0, "user app cannot log in with its password\n")
    assert wanted.holder({"db-sib-01": standby, "db-sib-03": refused, "db-fsn-01": NO_ANSWER}) == "db-sib-03"
    assert (
        wanted.holder({"db-sib-01": standby, "db-sib-03": Answer(1), "db-fsn-01": Answer(0, "ready\n")}) == "db-fsn-01"
    )
    assert wanted.holder({"db-sib-01": Answer(0, "ready\n"), "db-sib-03": refused}) == ""
    assert wanted.differs(Answer(0, "ready\n")) is None and wanted.differs(refused)
    for nobody in (standby, NO_ANSWER, Answer(1)):
        assert wanted.differs(nobody) == "no database node is primary"
    assert wanted.on[0] == context.platform.initial_primary.name


@pytest.mark.parametrize("change", [CHANGE, CHANGE_LOGIN])
def test_a_change_of_the_application_fails_where_the_primary_was_demoted(tmp_path: Path, change: str) -> None:
    (tmp_path / "setpriv").write_text("#!/bin/sh\necho t\n")
    (tmp_path / "setpriv").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ("sh", "-c", change, "sh", "app", "data", "5432")
    done = subprocess.run(words, input="secret\n", env=path, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, "is no primary any more\n")


def test_writable_is_what_the_primary_says(context: Context) -> None:
    condition, *_ = Sentinel(context).healthy()
    answers = {"patroni": cluster(db_sib_01="running"), "read_only": Answer(0, "off\n")}
    assert isinstance(condition.check(Readings({"db-sib-01": answers})), Passing)
    answers["read_only"] = Answer(0, "on\n")
    assert isinstance(condition.check(Readings({"db-sib-01": answers})), Waiting)


def test_the_watchdog_runs_on_every_database_node(context: Context) -> None:
    _, condition, _ = Sentinel(context).healthy()
    active = {name: {"watchdog": Answer(0, "active\n")} for name in ("db-sib-01", "db-sib-03", "db-fsn-01")}
    assert isinstance(condition.check(Readings(active)), Passing)
    active["db-sib-03"] = {"watchdog": Answer(3, "failed\n")}
    assert condition.check(Readings(active)) == Waiting("db-sib-03: failed")


def test_a_full_disk_is_told_and_so_is_a_node_that_does_not_say(context: Context) -> None:
    _, _, condition = Sentinel(context).healthy()

    def judged(**words: str) -> object:
        keys = [
            {"Key": f"tercet/room/{name.replace('_', '-')}", "Value": base64.b64encode(word.encode()).decode()}
            for name, word in words.items()
        ]
        return condition.check(Readings({"db-sib-03": {"rooms": ok(keys) if keys else Answer(404)}}))

    others = {"db_sib_03": "roomy", "db_fsn_01": "short"}
    assert judged(**others, db_sib_01="roomy") == Passing()
    full = judged(**others, db_sib_01="full")
    assert isinstance(full, Waiting) and full.reason.startswith("that of db-sib-01 is")
    assert judged(**others) == Waiting("db-sib-01 did not say how much room there is")
    assert isinstance(judged(), Waiting)


def test_routes_are_local_for_reads_and_the_primary_for_writes(context: Context) -> None:
    condition = next(iter(Proxy(context).healthy()))
    database = {"patroni": cluster(db_sib_01="streaming", db_sib_03="running", db_fsn_01="streaming")}

    hosts = "127.0.0.1 localhost\n# 10.0.0.4\n10.0.0.1 db-sib-01\n10.0.0.2 db-sib-03 two\n10.0.0.3 db-fsn-01\n"

    def judged(text: str, status: int = 0) -> object:
        answer = Answer(status, f"{hosts}{text}")
        return condition.check(Readings({"db-sib-01": database, "apps-sib-01": {"routes": answer}}))

    assert isinstance(judged("read\n10.0.0.1\nwrite\n10.0.0.2\n"), Passing)
    assert isinstance(judged("read\n10.0.0.1\nwrite\n10.0.0.2\n", status=-1), Passing), "it did not end in time"
    for bad in (
        "read\n10.0.0.3\nwrite\n10.0.0.2\n",
        "read\n10.0.0.1\nwrite\n10.0.0.3\n",
        "read\nwrite\n10.0.0.2\n",
        "read\n10.0.0.1\nwrite\n",
        "read\n10.0.0.1\nwrite\n10.0.0.4\n",
        "read\n10.0.0.1\n",
        "",
    ):
        assert isinstance(judged(bad), Waiting), bad
    assert routes_of(NO_ANSWER) == Routes()


def test_a_transaction_is_the_primarys_from_its_first_statement_on_or_that_is_declared(context: Context) -> None:
    database = {"patroni": cluster(db_sib_01="streaming", db_sib_03="running", db_fsn_01="streaming")}
    hosts = "10.0.0.1 db-sib-01\n10.0.0.2 db-sib-03\n10.0.0.3 db-fsn-01\n"

    def judged(proxy: Literal["pgcat", "pgpool"], **answered: str) -> object:
        *_, condition = Proxy(dataclasses.replace(context, proxy=proxy)).healthy()
        apps = {
            f"apps-{site.replace('_', '-')}": {"routes": Answer(0, f"{hosts}read\n10.0.0.1\ntransaction\n{address}\n")}
            for site, address in answered.items()
        }
        return condition.check(Readings({"db-sib-03": database, **apps}))

    whole = {"sib_01": "10.0.0.2", "sib_03": "10.0.0.2", "fsn_01": "10.0.0.2"}
    split = {**whole, "sib_01": "10.0.0.1"}
    kinds: tuple[Literal["pgcat", "pgpool"], ...] = ("pgcat", "pgpool")
    for proxy in kinds:
        assert judged(proxy, **whole) == Passing("db-sib-03 at every site")
        assert judged(proxy, **{**split, "fsn_01": ""}) == Waiting("no answer at apps-fsn-01")
    assert isinstance(judged("pgcat", **split), Waiting)
    declared = judged("pgpool", **split)
    assert isinstance(declared, Deviating)
    elsewhere = judged("pgpool", **{**split, "fsn_01": "10.0.0.3"})
    assert isinstance(elsewhere, Waiting), "neither the primary nor who answers reads"
    assert "apps-sib-01: db-sib-01" in declared.reason and "SET TRANSACTION READ WRITE" in declared.reason


def test_reads_prefer_the_site_then_the_nearest(context: Context) -> None:
    assert preference(context.platform, "sib-03") == ["db-sib-03", "db-sib-01", "db-fsn-01"]
    assert preference(context.platform, "fsn-01")[0] == "db-fsn-01"


@pytest.mark.parametrize(
    ("latencies", "remote"),
    [
        ((0.5, 15, 15), {"db-fsn-01"}),
        ((15, 0.5, 15), {"db-sib-03"}),
        ((15, 15, 15), set()),
        ((10, 12, 14), set()),  # none is far from both others
        ((0.5, 5, 5), set()),  # not far enough to matter
    ],
)
def test_a_node_far_from_both_others_lets_them_lead(
    context: Context, latencies: tuple[float, ...], remote: set[str]
) -> None:
    links = tuple(
        link.model_copy(update={"latency_ms": latency})
        for link, latency in zip(context.platform.settings.links, latencies, strict=True)
    )
    platform = dataclasses.replace(
        context.platform, settings=context.platform.settings.model_copy(update={"links": links})
    )
    assert {node.name for node in platform.of(Role.DB) if is_remote(platform, node)} == remote
    alone = platform.losing("sib-01")
    assert not any(is_remote(alone, node) for node in alone.of(Role.DB))
