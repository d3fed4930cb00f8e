"""Inventories that load: what they become, whatever valid one it is, and that no file crashes the loader."""

from __future__ import annotations

import json
import os
import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tercet.errors import TercetError
from tercet.inventory.components import declarations
from tercet.inventory.default import default_text
from tercet.inventory.load import MAX_BYTES, load, parse
from tercet.inventory.platform import Platform
from tercet.inventory.problems import InventoryError
from tercet.inventory.timing import FAST
from tercet.providers.lab.declaration import site_subnet

PORTS = [name for component in declarations() for name in component.port_names]
HERE = Path("tercet.yml")


def test_the_default_is_the_specification(platform: Platform) -> None:
    assert platform.name == "tercet"
    assert [(site.name, site.datacenter, site.place) for site in platform.sites] == [
        ("sib-01", "dc1", "Sibiu"),
        ("sib-03", "dc2", "Sibiu, another building and network"),
        ("fsn-01", "dc3", "Falkenstein"),
    ]
    assert platform.initial_primary.name == "db-sib-01"
    assert [node.name for node in platform.containers] == [
        "world",
        *("consul-nomad-sib-01", "apps-sib-01", "db-sib-01"),
        *("consul-nomad-sib-03", "apps-sib-03", "db-sib-03"),
        *("consul-nomad-fsn-01", "apps-fsn-01", "db-fsn-01"),
    ]
    assert {frozenset(link.between): link.latency_ms for link in platform.settings.links} == {
        frozenset(("sib-01", "sib-03")): 0.5,
        frozenset(("sib-01", "fsn-01")): 15,
        frozenset(("sib-03", "fsn-01")): 15,
    }


def test_every_default_that_the_template_shows_behind_a_hash_is_the_default() -> None:
    """Taking the # away from a line changes nothing, so what a reader learns there is true."""
    text = default_text()
    shown = re.sub(r"^( *)# ( *)([a-z_]+:)(?= |$)", r"\1\2\3", text, flags=re.MULTILINE)
    opened = yaml.safe_load(shown)
    assert set(opened) > set(yaml.safe_load(text)) | {"ports", "patroni", "versions", "sources", "budgets", "tailnet"}
    assert "world" in opened["lab"]
    one, other = parse(shown.encode(), HERE).settings, parse(text.encode(), HERE).settings
    times = {name: getattr(FAST, name) for name in ("ttl", "loop_wait", "retry_timeout")}
    assert one == other.model_copy(update={"patroni": other.patroni.model_copy(update=times)})


def test_every_port_is_known_to_listen_somewhere() -> None:
    for component in declarations():
        assert bool(component.ports) == bool(component.listens), component
        assert set(component.gossip) <= set(component.port_names), component
    assert len(set(PORTS)) == len(PORTS), "a key of two components"


def test_the_provider_that_is_given_overrules_the_inventorys() -> None:
    text = default_text().replace("provider: lab", "provider: proxmox").encode()
    inside = parse(text, HERE, provider="lab")
    assert (inside.settings.provider, inside.world is not None) == ("lab", True)


def test_paths_start_at_the_inventory(tmp_path: Path) -> None:
    path = tmp_path / "tercet.yml"
    path.write_text(default_text() + "cache: ./cache\nsources: {pgcat: path:bin/pgcat, consul: 'path:/opt/consul'}\n")
    settings = load(path).settings
    assert settings.cache == tmp_path / "cache"
    assert settings.sources.pgcat == f"path:{tmp_path}/bin/pgcat"
    assert settings.sources.consul == "path:/opt/consul"
    assert settings.sources.nomad == "auto"


def test_programs_that_are_not_there_are_found_by_who_looks_for_them(tmp_path: Path) -> None:
    """`validate` does. A platform that runs has copies, so `status` and `down` do not."""
    path = tmp_path / "tercet.yml"
    path.write_text(default_text() + "sources:\n  pgcat: path:bin/pgcat\n  nomad: path:.\n")
    load(path)
    with pytest.raises(
        InventoryError, match=f"expected a file or a folder of binaries, found nothing at {tmp_path}/bin"
    ):
        load(path, look=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pgcat").touch()
    load(path, look=True)


def test_a_section_with_every_line_commented_out_means_the_defaults() -> None:
    text = default_text() + "ports:\n#  proxy: 1\npatroni:\nversions: ~\n"
    assert parse(text.encode(), HERE).settings == parse(default_text().encode(), HERE).settings


def test_durations_have_units() -> None:
    text = default_text() + "budgets: {site_loss: 500ms, site_cut: 1.5s, reads: 2m, healing: 4}\n"
    budgets = parse(text.encode(), HERE).settings.budgets
    assert (budgets.site_loss, budgets.site_cut, budgets.reads, budgets.healing) == (0.5, 1.5, 120.0, 4.0)


@pytest.mark.parametrize("make", ["nothing", "folder", "fifo", "huge"])
def test_what_is_no_file_is_one_clear_error(tmp_path: Path, make: str) -> None:
    path = tmp_path / "tercet.yml"
    if make == "folder":
        path.mkdir()
    elif make == "fifo":
        os.mkfifo(path)
    elif make == "huge":
        path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(TercetError, match=f"expected an inventory at {path}, found "):
        load(path)


def labels(most: int) -> st.SearchStrategy[str]:
    return st.from_regex(rf"[a-z0-9]([a-z0-9-]{{0,{most - 2}}}[a-z0-9])?", fullmatch=True)


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, object]:
    """Any inventory that must be accepted."""
    count = draw(st.sampled_from([3, 5, 7]))
    names = draw(st.lists(labels(50).filter(lambda n: n != "world"), min_size=count, max_size=count, unique=True))
    centres = draw(st.lists(labels(63).filter(lambda n: n != "dcs"), min_size=count, max_size=count, unique=True))
    primary = draw(st.integers(0, count - 1))
    sites = [
        {
            "name": name,
            "datacenter": centre,
            "database": "primary" if i == primary else "standby",
            "place": draw(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=20)),
        }
        for i, (name, centre) in enumerate(zip(names, centres, strict=True))
    ]
    subnets = draw(st.none() | st.lists(st.integers(0, 255), min_size=count, max_size=count, unique=True))
    for site, subnet in zip(sites, subnets or (), strict=False):
        site["subnet"] = f"172.16.{subnet}.0/24"
    pairs = st.sets(st.sampled_from(names), min_size=2, max_size=2).map(frozenset)
    ends = draw(st.lists(pairs, unique=True, max_size=3))
    links = [{"between": list(pair), "latency_ms": draw(st.floats(0, 1000))} for pair in ends]
    free = st.integers(1024, 65535).filter(lambda port: not 20000 <= port <= 32000)
    ports = draw(st.lists(free, min_size=len(PORTS), unique=True))
    loop_wait, retry_timeout = draw(st.integers(1, 20)), draw(st.integers(3, 20))
    ttl = draw(st.integers(max(20, loop_wait + 2 * retry_timeout, 2 * (loop_wait + retry_timeout + 2)), 200))
    return {
        "platform": draw(labels(32)),
        "timing": draw(st.sampled_from(["fast", "relaxed"])),
        "proxy": draw(st.sampled_from(["auto", "pgcat", "pgpool"])),
        "sites": sites,
        "links": links,
        "ports": dict(zip(PORTS, ports, strict=False)),
        "patroni": {"ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout},
    }


@settings(deadline=None, max_examples=40)
@given(inventories())
def test_every_valid_inventory_loads_and_means_what_it_says(written: dict[str, object]) -> None:
    platform = parse(yaml.safe_dump(written, allow_unicode=True).encode(), HERE)
    sites = written["sites"]
    assert isinstance(sites, list)
    assert [site.name for site in platform.sites] == [site["name"] for site in sites]
    assert [site.place for site in platform.sites] == [site["place"] for site in sites]
    assert len(platform.nodes) == 3 * len(sites)
    assert all(len(node.name) <= 63 for node in platform.nodes)
    assert len({node.name for node in platform.containers}) == len(platform.containers)
    assert sum(site.initial_primary for site in platform.sites) == 1
    networks: list[IPv4Network] = [site_subnet(platform.settings, i) for i in range(len(sites))]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])
    assert platform.settings.ports.model_dump() == written["ports"]


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
@example(b"%YAML 99999999999999999999.1\n---\na")
@example(b"a: !!float ''\n")
@example(b"a: !!bool x\n")
@example(b"a: 1:99:99:99:99:99:99:99:99:99:99:99:99\n")
@example(b"a: " + b"9" * 5000)
@example(b"a: 0x" + b"f" * 5000)
@example(b"a: 2001-99-99\n")
@example(b"{" * 3000)
@example(b"- " * 3000)
@example(b"a: !<tag:yaml.org,2002:map> x")
@example(b"sites: !!map [a]\n")
@example(b"? ? ? a\n")
@example(b"<<: {a: 1}\n=: b\n")
def test_garbage_is_refused_with_a_line_and_never_crashes(raw: bytes) -> None:
    with pytest.raises(InventoryError) as caught:
        parse(raw, HERE)
    assert caught.value.problems
    assert list(caught.value.problems) == sorted(caught.value.problems)
    lines = raw.decode("utf-8", "replace").replace("\r", "\n").count("\n") + 2
    assert all(problem.line >= 1 and problem.column >= 1 for problem in caught.value.problems)
    assert all(problem.line <= 3 * lines for problem in caught.value.problems)


KEYS = [
    *("sites", "name", "datacenter", "subnet", "lab", "links", "between", "ports", "proxy", "ttl", "patroni", "x"),
    *("sources", "consul", "postgresql", "parameters", "tailnet", "cidr", "auth_key", "budgets", "proxmox"),
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["sites", "lab", "ports", "patroni", "postgresql", "sources"]), anything))
def test_any_structure_is_refused_or_loads(data: dict[str, object]) -> None:
    text = yaml.safe_dump(data)
    for sites in ("", json.dumps({"sites": [{"name": n, "datacenter": n} for n in "abc"]})[1:-1]):
        try:
            parse(f"{text if text != '{}' + chr(10) else ''}{sites}".encode(), HERE)
        except InventoryError as error:
            assert error.problems
