"""Everything that an inventory is refused for: where it says so, what it expected, what it offers instead.

The line of the error is marked in each text by the comment #!.
"""
# ruff: noqa: E501 - one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.inventory.default import default_text
from tercet.inventory.load import parse
from tercet.inventory.problems import InventoryError, Problem

SITES = """\
sites:
  - {name: a, datacenter: dc1, database: primary}
  - {name: b, datacenter: dc2}
  - {name: c, datacenter: dc3}
"""


def problems(text: str | bytes) -> tuple[Problem, ...]:
    """What is wrong with an inventory; nothing where it loads."""
    try:
        parse(text if isinstance(text, bytes) else text.encode(), Path("tercet.yml"))
    except InventoryError as error:
        return error.problems
    return ()


def the_problem(text: str) -> Problem:
    """The only one, which must be on the marked line."""
    (problem,) = problems(text)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if "#!" in line]
    assert [problem.line] == marked, problem
    return problem


def test_the_base_of_these_tests_is_valid() -> None:
    assert problems(SITES) == ()


@pytest.mark.parametrize(
    ("text", "column", "expected", "write"),
    [
        ("timing: fsat #!\n" + SITES, 9, "fast or relaxed", "timing: fast"),
        ("timing: relaxd #!\n" + SITES, 9, "fast or relaxed", "timing: relaxed"),
        ("platfrom: x #!\n" + SITES, 1, "one of the keys platform, ", "platform: (did you mean this?)"),
        ("ports: {consul-http: 1} #!\n" + SITES, 9, "one of the keys tailscale, consul_http, ", "consul_http: (did you mean this?)"),
        ("zzzzzz: x #!\n" + SITES, 1, "one of the keys platform, ", "one of these, or remove the line"),
        ("platform: Ter_Cet #!\n" + SITES, 11, "a host name (a-z, 0-9 and hyphens inside", "platform: ter-cet"),
        ("platform: " + "x" * 33 + " #!\n" + SITES, 11, "at most 32 characters", "platform: " + "x" * 32),
        (SITES.replace("name: a,", "name: a-,") .replace("primary}", "primary} #!"), 12, "a host name", "name: a"),
        (SITES.replace("name: a,", f"name: {'a' * 51},").replace("primary}", "primary} #!"), 12, "at most 50", "name: aa"),
        (SITES.replace("dc1,", "dc_1,").replace("primary}", "primary} #!"), 27, "a host name", "datacenter: dc-1"),
        (SITES.replace("name: b,", "name: 12,").replace("dc2}", "dc2} #!"), 12, "text", 'name: "12"'),
        (SITES.replace(", datacenter: dc2}", "} #!"), 5, "the key datacenter", "datacenter: dc1"),
        (SITES.replace("  - {name: b, datacenter: dc2}", "  - b #!"), 5, "a mapping", "- {name: sib-01, datacenter: dc1}"),
        (SITES.replace("name: b,", "name: a,").replace("dc2}", "dc2} #!"), 12, "a name that no other", "name: a2"),
        (SITES.replace("dc2}", "dc1} #!"), 27, "a datacenter that no other site has", "datacenter: dc2"),
        (SITES.replace("dc2}", "dcs} #!"), 27, "another name (tercet's own stretched", "datacenter: dc2"),
        (SITES.replace("name: b,", "name: world,").replace("dc2}", "dc2} #!"), 12, "another name (the outside world", "name: site2"),
        (SITES.replace(", database: primary", "").replace("sites:", "sites: #!"), 1, "exactly one site", "database: primary"),
        (SITES.replace("dc2}", "dc2, database: primary} #!"), 42, "exactly one site", "database: standby"),
        (SITES.replace("dc2}", "dc2, database: replica} #!"), 42, "primary or standby", "database: standby"),
        (SITES.replace("  - {name: c, datacenter: dc3}\n", "").replace("sites:", "sites: #!"), 1, "three or more", "three"),
        (SITES.replace("sites:", "sites: #!") + "  - {name: d, datacenter: dc4}\n", 1, "an odd number", "3 or 5 sites"),
        ("sites: [] #!\n", 1, "an odd number of sites", "three sites"),
        ("sites: 5 #!\n", 8, "a list", "sites: and below it items such as - {name: sib-01, datacenter: dc1}"),
        ("platform: x #!\n", 1, "the key sites", "sites: and below it items such as - {name: sib-01"),
        (SITES.replace("dc2}", "dc2, subnet: 10.77.1.0/25} #!"), 40, "networks that do not overlap", "subnet: 10.77.0.0/24"),
        (SITES.replace("dc2}", "dc2, subnet: 10.77.2.1/24} #!"), 40, "with no bits set after", "subnet: 10.77.2.0/24"),
        (SITES.replace("dc2}", 'dc2, place: "a\\e[31mb"} #!'), 39, "text on one line", 'place: "" (the default)'),
        (SITES.replace("dc2}", "dc2, subnet: ten} #!"), 40, "an IPv4 network", "an IPv4 network, such as 10.77.1.0/24, or remove"),
        (SITES.replace("dc2}", "dc2, subnet: 10.77.2.0/29} #!"), 40, "at least 16 addresses", "subnet: 10.77.0.0/24"),
        (SITES.replace("dc2}", "dc2, subnet: 8.8.8.0/24} #!"), 40, "a private network", "subnet: 10.77.0.0/24"),
        (SITES.replace("dc2}", "dc2, subnet: 127.8.0.0/24} #!"), 40, "a private network", "subnet: 10.77.0.0/24"),
        (SITES.replace("dc2}", "dc2, subnet: 100.64.8.0/24} #!"), 40, "a network outside 100.64.0.0/10", "subnet: 10.77.0.0/24"),
        (SITES.replace("dc2}", "dc2, subnet: 198.18.0.0/24} #!"), 40, "a network outside 198.18.0.0/30", "subnet: 10.77.0.0/24"),
        (SITES + "lab: {world: 10.77.2.0/24} #!\n", 14, "networks that do not overlap", "world: 10.77.0.0/24"),
        (SITES + "tailnet: {cidr: 10.0.0.0/8} #!\n", 17, "within 100.64.0.0/10", "cidr: 100.64.0.0/10"),
        (SITES + "tailnet: {tag: tercet} #!\n", 16, "a Tailscale tag", "tag: tag:tercet"),
        (SITES + "tailnet: {login_server: hs.lab} #!\n", 25, "the URL of a server", "login_server: https://hs.lab"),
        (SITES + "tailnet: {login_server: 'https://hs.lab/\"; reboot'} #!\n", 25, "the URL of a server", "remove the line"),
        (SITES + "tailnet: {login_server: 'https://hs''.lab'} #!\n", 25, "the URL of a server", "remove the line"),
        (SITES + "firewall:\n  open: [443, 8500] #!\n", 15, "a port of an application", "open: [80, 443]"),
        (SITES + "firewall:\n  open: [70000] #!\n", 10, "less than or equal to 65535", "(a value less"),
        (SITES + "links:\n  - {between: [a, bb], latency_ms: 1} #!\n", 19, "the name of a site: a, b, c", "b"),
        (SITES + "links:\n  - {between: [a, a], latency_ms: 1} #!\n", 15, "two different sites", "the other site"),
        (SITES + "links:\n  - {between: [a], latency_ms: 1} #!\n", 15, "exactly 2 items", "between: [sib-01, fsn-01]"),
        (SITES + "links:\n  - {between: [a, b, c], latency_ms: 1} #!\n", 15, "exactly 2 items", "between: ["),
        (SITES + "links:\n  - {between: [a, b], latency_ms: -1} #!\n", 35, "greater than or equal to 0", "latency_ms: 15"),
        (SITES + "links:\n  - {between: [a, b], latency_ms: .nan} #!\n", 35, "less than or equal to 1000", "latency_ms: 15"),
        (SITES + "links:\n  - {between: [a, b]} #!\n", 5, "the key latency_ms", "latency_ms: 15"),
        (
            SITES + "links:\n  - {between: [a, b], latency_ms: 1}\n  - {between: [b, a], latency_ms: 2} #!\n",
            15,
            "each pair of sites once",
            "nothing: remove this link",
        ),
        (SITES + "ports: {dcs_http: 8500} #!\n", 19, "ports that differ on the same node", "dcs_http: 9500"),
        (SITES + "ports: {nomad_http: 41641} #!\n", 21, "ports that differ on the same node", "nomad_http: 4646"),
        (SITES + "ports: {proxy: 8500} #!\n", 16, "ports that differ on the same node", "proxy: 5432"),
        (SITES + "ports: {proxy: 20001} #!\n", 16, "a port that nothing else has on apps nodes", "proxy: 5432"),
        (SITES + "ports: {consul_http: 20000} #!\n", 22, "a port that nothing else has on apps nodes", "consul_http: 8500"),
        (SITES + "ports: {patroni: 5432} #!\n", 18, "ports that differ on the same node", "patroni: 8008"),
        (SITES + "ports: {consul_http: 9500} #!\n", 22, "ports that differ on the same node", "consul_http: 8500"),
        (SITES + "ports:\n  consul_http: 1\n  proxy: 1 #!\n", 10, "ports that differ on the same node", "proxy: 5432"),
        (SITES + "ports: {proxy: 0} #!\n", 16, "greater than or equal to 1", "proxy: 5432 (the default)"),
        (SITES + "ports: {proxy: 65536} #!\n", 16, "less than or equal to 65535", "proxy: 5432 (the default)"),
        (SITES + "ports: {proxy: '5433'} #!\n", 16, "a whole number", "proxy: 5433, without quotes"),
        (SITES + "ports: {proxy: 5432.5} #!\n", 16, "a whole number", "proxy: 5432 (the default)"),
        (SITES + "ports: {proxy: yes} #!\n", 16, "a whole number", "proxy: 5432 (the default)"),
        (SITES + "ports: [5432] #!\n", 8, "a mapping of keys to values", "ports: …"),
        (SITES + "patroni: {ttl: 19} #!\n", 16, "a ttl of at least 20", "ttl: 20"),
        (SITES + "patroni: {ttl: 21, loop_wait: 12} #!\n", 16, "loop_wait + 2 * retry_timeout <= ttl", "ttl: 32, or a smaller"),
        (SITES + "patroni: {loop_wait: 11} #!\n", 22, "loop_wait + 2 * retry_timeout <= ttl", "ttl: 30, or a smaller"),
        (SITES + "patroni: {retry_timeout: 10} #!\n", 26, "loop_wait + 2 * retry_timeout <= ttl", "ttl: 22, or a smaller"),
        (SITES + "patroni: {loop_wait: 6} #!\n", 22, "loop_wait + retry_timeout + 2 <= 0.6 * ttl", "ttl: 22, or a smaller"),
        (SITES + "timing: relaxed\npatroni: {ttl: 20} #!\n", 16, "loop_wait + 2 * retry_timeout <= ttl", "ttl: 29"),
        (SITES + "patroni: {loop_wait: 0} #!\n", 22, "greater than or equal to 1", "or remove the line for the default"),
        (SITES + "patroni: {retry_timeout: 2} #!\n", 26, "greater than or equal to 3", "or remove the line"),
        (SITES + "patroni: {synchronous_node_count: 3} #!\n", 35, "at most 2, the number of standbys", "synchronous_node_count: 1"),
        (SITES + "postgresql: {user: postgres} #!\n", 20, "a user of the application's own", "user: proposalsapp"),
        (SITES + "postgresql: {user: replicator} #!\n", 20, "a user of the application's own", "user: proposalsapp"),
        (SITES + "postgresql: {user: rewinder} #!\n", 20, "a user of the application's own", "user: proposalsapp"),
        (SITES + "postgresql: {user: pg_app} #!\n", 20, "a user of the application's own", "user: proposalsapp"),
        (SITES + "postgresql: {user: My App} #!\n", 20, "a PostgreSQL name", "user: my_app"),
        (SITES + "postgresql: {database: template1} #!\n", 24, "a database of the application's own", "database: proposalsapp"),
        (SITES + "postgresql: {parameters: {work_mem: [1]}} #!\n", 37, "one value", "work_mem: … "),
        (SITES + 'postgresql: {parameters: {search_path: "a\\nb"}} #!\n', 40, "text on one line", "search_path: …"),
        (SITES + "postgresql: {parameters: {work mem: 1}} #!\n", 27, "the name of a PostgreSQL parameter", "work_mem: 16MB"),
        (SITES + "sources: {consul: oci-image} #!\n", 19, "one of auto, official, go-module, or path:", "consul: auto"),
        (SITES + "sources: {consul: debian} #!\n", 19, "one of auto, official, go-module, or path:", "consul: auto"),
        (SITES + "sources: {consul: ofical} #!\n", 19, "one of auto, official", "consul: official"),
        (SITES + "sources: {consul: bin/consul} #!\n", 19, "one of auto, official", "consul: path:bin/consul"),
        (SITES + "sources: {pgcat: go-module} #!\n", 18, "one of auto, oci-image, or path:", "pgcat: auto"),
        (SITES + "sources: {pgcat: 'path:'} #!\n", 18, "one of auto, oci-image, or path:", "pgcat: auto"),
        (SITES + "versions: {consul: 1.10} #!\n", 20, "text", 'consul: "1.10"'),
        (SITES + "versions: {consul: ../evil} #!\n", 20, "a version as its makers write it", "consul: 1.22.7"),
        (SITES + "versions: {consul: latest} #!\n", 20, "a version as its makers write it", "consul: 1.22.7 (the default)"),
        (SITES + "versions: {consul: v1.22.8} #!\n", 20, "a version as its makers write it", "consul: 1.22.8"),
        (SITES + "versions: {postgresql: 16} #!\n", 24, "17", "postgresql: 17 (the default)"),
        (SITES + "budgets: {site_loss: 10 seconds} #!\n", 22, "a duration above zero", "site_loss: 10 (the default)"),
        (SITES + "budgets: {site_loss: 0} #!\n", 22, "a duration above zero", "site_loss: 10 (the default)"),
        (SITES + "cache: 5 #!\n", 8, "text", 'cache: "5"'),
    ],
)  # fmt: skip
def test_refused(text: str, column: int, expected: str, write: str) -> None:
    problem = the_problem(text)
    assert (problem.column, expected in problem.expected, write in problem.write) == (column, True, True), problem


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("listen_addresses: '*'", "tercet binds PostgreSQL to the tailnet address"),
        ("port: 5433", "`ports.postgresql`"),
        ("synchronous_standby_names: x", "Patroni sets it as standbys come and go"),
        ("primary_conninfo: x", "Patroni writes it on each standby"),
        ("primary_slot_name: x", "Patroni writes it on each standby"),
        ("hot_standby: off", "standbys serve reads"),
        ("wal_log_hints: off", "pg_rewind needs it"),
        ("fsync: off", "a power cut loses acknowledged writes"),
        ("Full_Page_Writes: off", "a power cut loses acknowledged writes"),
        ("default_transaction_read_only: on", "tercet's read-only guard"),
        ("recovery_target_time: x", "belongs to a restore"),
        ("recovery_min_apply_delay: 1h", "cannot take over"),
        ("password_encryption: md5", "SCRAM"),
        ("data_directory: /x", "tercet places PostgreSQL's files"),
        ("synchronous_commit: off", "on, remote_write or remote_apply"),
        ("synchronous_commit: local", "on, remote_write or remote_apply"),
        ("wal_level: minimal", "replica or logical"),
        ("max_wal_senders: 3", "at least 4"),
        ("max_wal_senders: many", "at least 4"),
        ("max_replication_slots: 1", "at least 2"),
        ("max_conections: 50", "a parameter of PostgreSQL 17"),
        ("zzz: 1", "a parameter of PostgreSQL 17"),
    ],
)
def test_a_parameter_that_breaks_a_promise_is_refused_with_the_reason(parameter: str, expected: str) -> None:
    problem = the_problem(f"{SITES}postgresql:\n  parameters:\n    {parameter} #!\n")
    assert expected in problem.expected
    assert problem.write


@pytest.mark.parametrize(
    "parameter",
    [
        "synchronous_commit: on",
        "synchronous_commit: remote_apply",
        "wal_level: logical",
        "max_wal_senders: 4",
        "archive_mode: on",
        "archive_command: /bin/true",
        "work_mem: 16MB",
        "random_page_cost: 1.1",
        "auto_explain.log_min_duration: 3s",
        "TimeZone: Europe/Bucharest",
        "jit_expressions: off",
    ],
)
def test_other_parameters_are_the_operators(parameter: str) -> None:
    assert problems(f"{SITES}postgresql:\n  parameters:\n    {parameter}\n") == ()


@pytest.mark.parametrize(
    ("text", "line", "expected", "found"),
    [
        ("", 1, "an inventory", "an empty file"),
        ("# nothing\n", 1, "an inventory", "an empty file"),
        ("just words\n", 1, "an inventory", 'only "just words"'),
        ("- a\n", 1, "an inventory", "only a list"),
        ("a: b\nc: d: e\n", 2, "valid YAML", 'a key where no key is allowed in "c: d: e"'),
        ("a: b\n\tc: d\n", 2, "spaces", "a tab"),
        ('a: "b\n', 2, "valid YAML", "a quote that is never closed at the end of the file"),
        ("a: [1,\n", 2, "valid YAML", "at the end of the file"),
        ("a: &x 1\nb: *x\n", 2, "a value", 'the alias "b: *x"'),
        ("a: 1\n---\nb: 1\n", 2, "one document", "a second one"),
        ("a: !!python/object:os.system x\n", 1, "a plain value", "the tag "),
        ("a: !!int x\n", 1, "a value that fits its tag", '"x"'),
        ("a: !!set {x}\n", 1, "a plain value", "the tag "),
        ('a: "\\UFFFFFFFF"\n', 1, "valid YAML", "an escape sequence that is not a character"),
        ('a: "\\ud800"\n', 1, "a value that fits its tag", '"\\ud800"'),
        ("a: 99999999999999999999\n", 1, "a number of at most 64 bits", '"99999999999999999999"'),
        ("? [a]\n: b\n", 1, "a name before the colon", "a list or mapping"),
        ("a: " + "[" * 40 + "]" * 40, 1, "valid YAML", "more than 20 levels"),
        ("a: b\x00\n", 1, "printable text", "the control character U+0000"),
        (b"ok: 1\na: \xff\n", 2, "text in UTF-8", "the byte 0xff"),
    ],
)
def test_bad_yaml(text: str | bytes, line: int, expected: str, found: str) -> None:
    assert [each for each in problems(text) if (each.line, each.expected) == (line, expected) and found in each.found]


def test_a_key_that_stands_twice_names_both_lines() -> None:
    problem = the_problem(f"{SITES}lab: {{}}\nports:\n  proxy: 5433\n  patroni: 1\n  proxy: 5434 #!\n")
    assert problem.where == "ports.proxy"
    assert problem.found == '"proxy" again (first on line 7)'


def test_all_errors_come_at_once_sorted_by_line() -> None:
    text = """\
platfrom: x
timing: slow
sites:
  - {name: A_1, datacenter: dc1, database: primary}
  - {name: b, datacenter: dc1, database: primary}
  - {name: c, datacenter: dc3, subnet: 10.77.250.0/24}
  - {name: c, place: 5}
ports:
  proxy: many
  dcs_http: 8500
patroni: {ttl: 10}
links:
    - {between: [a-1, zz], latency_ms: far}
tailnet: {cidr: 10.0.0.0/8}
tailnet: {}
"""
    found = problems(text)
    assert [(problem.line, problem.where) for problem in found] == [
        (1, "platfrom"),
        (2, "timing"),
        (3, "sites"),
        (4, "sites[0].name"),
        (5, "sites[1].datacenter"),
        (5, "sites[1].database"),
        (6, "sites[2].subnet"),
        (7, "sites[3].datacenter"),
        (7, "sites[3].name"),
        (7, "sites[3].place"),
        (9, "ports.proxy"),
        (10, "ports.dcs_http"),
        (11, "patroni.ttl"),
        (13, "links[0].latency_ms"),
        (14, "tailnet.cidr"),
        (15, "tailnet"),
    ]


def test_no_two_suggestions_are_the_same() -> None:
    text = "sites:\n" + "".join(f"  - {{name: a, datacenter: dc1, subnet: 10.0.0.0/{n}}}\n" for n in (24, 25, 26))
    found = problems(text.replace("dc1,", "dc1, database: primary,", 1))
    for where in ("name: ", "datacenter: ", "subnet: "):
        writes = {problem.where: problem.write for problem in found if problem.write.startswith(where)}
        assert len(writes) == len(set(writes.values())) == 2, writes
    ports = problems(f"{SITES}ports: {{consul_http: 1, consul_dns: 1, nomad_rpc: 1}}\n")
    assert {problem.write for problem in ports} == {"consul_dns: 8600", "nomad_rpc: 4647"}


def test_a_misspelt_parameter_is_answered_with_the_right_one() -> None:
    problem = the_problem(f"{SITES}postgresql:\n  parameters:\n    max_conections: 50 #!\n")
    assert problem.write == "max_connections: 50 (did you mean this?)"


def test_a_key_that_moved_is_answered_with_its_new_place() -> None:
    problem = the_problem(f"{SITES}lab:\n  links: #!\n  - {{between: [a, b], latency_ms: 1}}\n")
    assert problem.expected == "the key links at the top level"
    assert (problem.found, problem.write) == ("lab.links", "the same under `links:`, at the start of a line")


def test_a_list_of_the_wrong_length_is_counted() -> None:
    for ends, found in (("a", "1 item"), ("a, b, c", "3 items")):
        problem = the_problem(f"{SITES}links:\n  - {{between: [{ends}], latency_ms: 1}} #!\n")
        assert problem.found == found


def test_a_wrong_value_hides_no_more_than_what_rests_on_it() -> None:
    """A misspelt ttl is not answered with an arithmetic error about the default ttl as well."""
    found = problems(f"{SITES}patroni: {{tttl: 40, loop_wait: 12}}\nports: {{proxy: 8500}}\n")
    assert [problem.where for problem in found] == ["patroni.tttl", "ports.proxy"]


def test_stand_ins_for_wrong_values_never_show() -> None:
    found = problems(default_text().replace("name: sib-03", "name: SIB_03").replace("latency_ms: 15", "latency_ms: x"))
    assert found
    assert not [problem for problem in found if "stand-in" in str(problem)]


def test_the_message_can_be_read_by_people_and_editors() -> None:
    with pytest.raises(InventoryError) as caught:
        parse(f"{SITES}proxy: pgbouncer\n".encode(), Path("conf/prod.yml"))
    assert str(caught.value) == (
        "1 problem in conf/prod.yml:\n"
        'conf/prod.yml:5:8: proxy: expected auto, pgcat or pgpool, found "pgbouncer"\n'
        "    write proxy: auto (the default)"
    )
