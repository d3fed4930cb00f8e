"""The table of `status` where there is no wide terminal: names and addresses whole, reasons once."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tercet.cli.status_view import render_status
from tercet.components.context import Context
from tercet.components.patroni.aside import AsideStatus
from tercet.components.registry import components
from tercet.converge.component import Readings
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets, names
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import NodeStatus, SiteStatus, Snapshot, snapshot, units_of
from tercet.tables import size

ADDRESS = "100.64.0.11"


@pytest.fixture
def silent(platform: Platform) -> Snapshot:
    """Nobody answers; db-sib-01 has said why."""
    secrets = Secrets(dict.fromkeys(names(), "x"))
    context = Context(platform, secrets, timing_of(platform.settings), (), "pgpool")
    parts = components(context)
    silent = Readings({}, {"db-sib-01": "db-sib-01: the container does not run"})
    return snapshot(context, parts, units_of(parts, platform.containers), silent)


def table(seen: Snapshot, width: int = 80) -> list[str]:
    """The lines of the table of nodes."""
    out = io.StringIO()
    render_status(seen, Console(file=out, width=width))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return lines[1 : next(i for i, line in enumerate(lines) if line.startswith("POSTGRESQL"))]


def of(node: str, seen: Snapshot, **changes: object) -> Snapshot:
    """The same snapshot with one node alone, changed."""
    site, found = next((site, each) for site in seen.sites for each in site.nodes if each.name == node)
    one: NodeStatus = found.model_copy(update=changes)
    return seen.model_copy(update={"sites": [SiteStatus(name=site.name, datacenter=site.datacenter, nodes=[one])]})


def test_a_silent_node_says_why_and_once(silent: Snapshot) -> None:
    lines = table(silent)
    assert len(lines) == 1 + 9, "one line a node"
    assert next(line for line in lines if "db-sib-01" in line).endswith("the container does not run")
    assert next(line for line in lines if "db-sib-03" in line).split() == ["db-sib-03", "-", "no", "answer"]


def test_the_proxy_says_why_it_is_what_it_is(silent: Snapshot) -> None:
    out = io.StringIO()
    seen = silent.model_copy(update={"proxy_reason": "pgpool-II, because PgCat is not available"})
    render_status(seen, Console(file=out, width=80))
    assert "\nproxy: pgpool-II, because PgCat is not available\n" in out.getvalue()


def test_many_states_fold_and_squeeze_no_name(silent: Snapshot) -> None:
    states = dict.fromkeys(("tailscale", "consul", "dcs", "guard", "patroni", "sentinel"), "activating")
    seen = of("db-sib-01", silent, address=ADDRESS, reason="", components=states | {"headscale": "active"})
    lines = table(seen)
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith(f"sib-01 · dc1  db-sib-01  {ADDRESS}  tailscale activating, ")
    assert len(lines) > 2
    assert "sentinel activating" in " ".join(line[39:].strip() for line in lines[1:])


def test_what_was_moved_aside_has_a_line_with_all_that_its_removal_needs(silent: Snapshot) -> None:
    aside = AsideStatus(
        node="db-fsn-01",
        name="tercet.aside-20261126T162300Z-timeline-3",
        path="/var/lib/postgresql/17/tercet.aside-20261126T162300Z-timeline-3",
        bytes=31_830_016,
        moved="2026-11-26T16:23:00+00:00",
        until="2026-12-10T16:23:00+00:00",
        reason="could not find previous WAL record",
        warning="removed soon",
    )
    out = io.StringIO()
    render_status(silent.model_copy(update={"aside": [aside]}), Console(file=out, width=80))
    assert (
        "moved aside: db-fsn-01 tercet.aside-20261126T162300Z-timeline-3, 31.8 MB, kept until 2026-12-10 16:23 UTC: "
        "could not find previous WAL record\n! db-fsn-01 tercet.aside-20261126T162300Z-timeline-3: removed soon\n"
    ) in out.getvalue()


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e15, "2500.0 TB")])
def test_sizes(count: float, text: str) -> None:
    assert size(int(count)) == text
