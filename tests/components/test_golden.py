"""Every file that a node gets, in a golden file for each component: a change of a configuration is one to read.

Programs of tercet/nodeside are named there, not repeated. `make generated` writes the golden files.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.amber import AmberSnapshotExtension
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from tercet import nodeside
from tercet.components.context import Context
from tercet.components.patroni.component import Patroni
from tercet.components.registry import components
from tercet.converge.component import Component
from tercet.converge.requests import Deferred, Exec
from tercet.converge.resources import Absent, Directory, File, Object, Program, Resource, Unit

PROGRAMS = {file.read_bytes(): file.name for file in Path(nodeside.__path__[0]).glob("*.py")}


class OfComponent(AmberSnapshotExtension):
    """One file for each name that a snapshot is taken by: a component's."""

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return str(index)


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(OfComponent)


# One site is enough for files that differ by name only; db-sib-03 is a standby, db-sib-01 the first primary.
NODES = ("world", "consul-nomad-sib-01", "apps-fsn-01", "db-sib-01", "db-sib-03")


def shown(resource: Resource) -> str:
    match resource:
        case File():
            head = f"file {resource.path} {resource.mode:o} {resource.owner}:{resource.group}"
            content = resource.content
            if isinstance(content, Deferred):
                text = f"(known once {content.why})"
            elif content in PROGRAMS and content:
                text = f"(nodeside/{PROGRAMS[content]})"
            else:
                text = content.decode()
            return f"{head}{' secret' if resource.secret else ''}\n{text}"
        case Directory():
            return f"directory {resource.path} {resource.mode:o} {resource.owner}:{resource.group} {resource.purge=}"
        case Unit():
            rolling = f" rolling={resource.rolling.group}" if resource.rolling else ""
            return (
                f"unit {resource.name} active={resource.active}{rolling}\n"
                f"  restart on {', '.join(resource.restart_on)}\n  reload on {', '.join(resource.reload_on)}"
            )
        case Object():
            return f"object {resource.name} on {', '.join(resource.on) or 'this node'}\n  {resource.probe}"
        case Program():
            return f"program {resource.name}"
        case Absent():
            return f"absent {resource.path}"


def text_of(component: Component, context: Context, name: str) -> str:
    node = context.platform.node(name)
    return "\n".join(shown(resource) for resource in component.desired(node))


# Only the apps nodes have a part in the choice of the proxy.
@pytest.mark.parametrize(("proxy", "node"), [*(("pgpool", node) for node in NODES), ("pgcat", "apps-fsn-01")])
def test_rendered_configuration(context: Context, proxy: str, node: str, golden: SnapshotAssertion) -> None:
    chosen = dataclasses.replace(context, proxy=proxy)  # type: ignore[arg-type]
    for component in components(chosen):
        assert text_of(component, chosen, node) == golden(name=component.name)


@pytest.mark.parametrize("name", ["consul-nomad-fsn-01", "apps-fsn-01", "db-fsn-01"])
def test_rendered_configuration_of_the_only_site_left(context: Context, name: str, golden: SnapshotAssertion) -> None:
    """What differs from the whole platform's: no word of a lost site, and nobody to confirm a write."""
    alone = dataclasses.replace(context, platform=context.platform.losing("sib-01", "sib-03"))
    node = context.platform.node(name)
    for component, whole in zip(components(alone), components(context), strict=True):
        known = {shown(resource) for resource in whole.desired(node)}
        texts = [shown(resource) for resource in component.desired(node)]
        assert "sib-0" not in "".join(texts)
        if changed := [text for text in texts if text not in known]:
            assert "\n".join(changed) == golden(name=component.name)


def test_the_same_inventory_gives_the_same_bytes(context: Context) -> None:
    for one, other in zip(components(context), components(context), strict=True):
        for node in context.platform.containers:
            assert text_of(one, context, node.name) == text_of(other, context, node.name)


def test_secrets_are_only_in_secret_files_and_standard_input(context: Context) -> None:
    secret_values = [value for value in context.secrets.texts.values() if "cert" not in value]
    for component in components(context):
        for node in context.platform.containers:
            for resource in component.desired(node):
                visible = repr(resource)
                if isinstance(resource, File) and not resource.secret and isinstance(resource.content, bytes):
                    visible += resource.content.decode()
                leaked = [value for value in secret_values if value in visible]
                assert not leaked, f"{node.name}: {resource}"


def test_a_secret_file_is_not_readable_by_everybody(context: Context) -> None:
    for component in components(context):
        for node in context.platform.containers:
            for resource in component.desired(node):
                if isinstance(resource, File) and resource.secret:
                    assert resource.mode & 0o007 == 0, f"{node.name}: {resource.path}"


def test_a_program_comes_with_the_modules_that_it_imports_and_starts_anew_for_each(context: Context) -> None:
    programs = 0
    for component in components(context):
        for node in context.platform.containers:
            resources = list(component.desired(node))
            units = [resource for resource in resources if isinstance(resource, Unit)]
            delivered = {resource.path for resource in resources if isinstance(resource, File)}
            for resource in resources:
                if not isinstance(resource, File) or not re.fullmatch(r"/usr/lib/tercet/\w+\.py", resource.path):
                    continue
                assert isinstance(resource.content, bytes)
                imported = re.findall(r"^from tercet\.nodeside\.(\w+) import", resource.content.decode(), re.MULTILINE)
                modules = {f"/usr/lib/tercet/tercet/nodeside/{name}.py" for name in imported}
                assert modules <= delivered, f"{node.name}: {resource.path}"
                restarted = [unit for unit in units if resource.path in unit.restart_on]
                assert all(modules <= set(unit.restart_on) for unit in restarted)
                programs += bool(modules)
    assert programs


@pytest.mark.parametrize("lost", [(), ("sib-01", "sib-03")])
def test_what_a_cluster_is_created_with(context: Context, lost: tuple[str, ...], golden: SnapshotAssertion) -> None:
    """Patroni's section `bootstrap`, and in it the dynamic configuration, which `apply` keeps as it is there."""
    left = dataclasses.replace(context, platform=context.platform.losing(*lost))
    (cluster,) = [
        resource
        for resource in Patroni(left).desired(left.platform.initial_primary)
        if isinstance(resource, Object) and resource.name == "the database cluster"
    ]
    (given,) = cluster.change
    assert isinstance(given, Exec) and isinstance(given.stdin, bytes)
    assert given.stdin.decode() == golden(name="patroni")
