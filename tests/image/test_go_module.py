"""Builds from Go modules: the pinned wrappers as data, and a tiny module of the test's own for real."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tercet.components.consul.programs import CONSUL
from tercet.components.headscale.programs import HEADSCALE
from tercet.components.nomad.programs import NOMAD
from tercet.components.proxy.programs import CONSUL_TEMPLATE
from tercet.components.tailscale.programs import TAILSCALE
from tercet.converge.events import Event
from tercet.errors import TercetError
from tercet.image import gotools
from tercet.image.cache import Cache
from tercet.image.catalog import Package
from tercet.image.elf import host_arch
from tercet.image.gotools import MINIMUM, PYPI_VERSION, GoTools, number, system_programs
from tercet.image.progress import Progress
from tercet.image.sources.go_module import GoModule, pinned_version
from tercet.image.sources.source import Wanted, Workshop
from tercet.inventory.model import Inventory

BUILT = (CONSUL, NOMAD, CONSUL_TEMPLATE, TAILSCALE, HEADSCALE)
# Each test has an empty cache of Go's, so its build begins with the standard library: ten seconds, or a minute.
pytestmark = pytest.mark.timeout(600)
needs_go = pytest.mark.skipif(not system_programs(), reason="needs a Go toolchain")


def source_of(component: Package) -> GoModule:
    source = component.sources["go-module"]
    assert isinstance(source, GoModule)
    return source


@pytest.mark.parametrize("component", BUILT, ids=lambda component: component.name)
def test_each_wrapper_pins_the_inventorys_default_version(component: Package, inventory: Inventory):
    source = source_of(component)
    assert pinned_version(source.wrapper / "go.mod", source.module) == component.version(inventory)
    assert (source.wrapper / "go.sum").stat().st_size > 0


@pytest.mark.parametrize("component", BUILT, ids=lambda component: component.name)
def test_the_toolchain_that_is_installed_is_new_enough(component: Package):
    text = (source_of(component).wrapper / "go.mod").read_text()
    asked = next(line.split()[1] for line in text.splitlines() if line.startswith("go "))
    assert number(asked) <= MINIMUM <= number(PYPI_VERSION)


@pytest.mark.parametrize("component", BUILT, ids=lambda component: component.name)
async def test_another_version_is_refused_with_the_remedy(component: Package, workshop: Workshop):
    wanted = Wanted(component.name, "0.0.1", host_arch(), tuple(component.programs))
    with pytest.raises(TercetError, match=rf"this tercet pins .*Set versions\.{component.key}: "):
        await source_of(component).fetch(wanted, workshop)


TINY = Wanted("tiny", "1.2.3", host_arch(), ("tinyd", "tiny"))


@pytest.fixture
def tiny(tmp_path: Path) -> GoModule:
    """A program that prints its stamped version, in a module that its wrapper requires at 1.2.3."""
    wrapper = tmp_path / "wrapper"
    (wrapper / "tiny").mkdir(parents=True)
    (wrapper / "go.mod").write_text(
        "module tercet/components/tiny\n\ngo 1.24\n\ntool example.com/tiny\n\n"
        "require example.com/tiny v1.2.3 // indirect\n\nreplace example.com/tiny => ./tiny\n"
    )
    (wrapper / "go.sum").write_text("")
    (wrapper / "tiny" / "go.mod").write_text("module example.com/tiny\n\ngo 1.24\n")
    (wrapper / "tiny" / "main.go").write_text(
        'package main\n\nimport "os"\n\nvar version = "unset"\n\nfunc main() { os.Stdout.WriteString(version) }\n'
    )
    return GoModule(wrapper, "example.com/tiny", "example.com/tiny", stamps=("main.version",))


@needs_go
async def test_a_build_stamps_the_version_and_serves_all_programs(
    tiny: GoModule, workshop: Workshop, events: list[Event], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GOFLAGS", "-mod=mod -tags=nonsense")  # the operator's settings must not change the result
    fetched = await tiny.fetch(TINY, workshop)
    assert fetched.files["tinyd"] == fetched.files["tiny"]
    output = subprocess.run([fetched.files["tiny"]], capture_output=True, text=True, check=True, timeout=20).stdout
    assert output == "1.2.3"
    assert fetched.origin.startswith("example.com/tiny@v1.2.3, built with go1.")
    assert any("linking" in event.text or "compiling" in event.text for event in events)


@needs_go
async def test_a_build_that_fails_shows_the_compilers_words(tiny: GoModule, workshop: Workshop):
    (tiny.wrapper / "tiny" / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(TercetError, match=r"(?s)go build example\.com/tiny left with status 1.*undefined: nonsense"):
        await tiny.fetch(TINY, workshop)


@needs_go
async def test_a_dependency_that_go_sum_does_not_hold_is_refused(tiny: GoModule, workshop: Workshop):
    with (tiny.wrapper / "go.mod").open("a") as stream:
        stream.write("\nrequire github.com/hashicorp/consul/api v1.34.2\n")
    (tiny.wrapper / "tiny" / "main.go").write_text(
        'package main\n\nimport _ "github.com/hashicorp/consul/api"\n\nfunc main() {}\n'
    )
    with pytest.raises(TercetError, match=r"missing go\.sum entry"):
        await tiny.fetch(TINY, workshop)


@needs_go
async def test_builds_run_one_at_a_time(tiny: GoModule, workshop: Workshop):
    async with workshop.go.building:
        build = asyncio.create_task(tiny.fetch(TINY, workshop))
        _, pending = await asyncio.wait({build}, timeout=1.5)
        assert pending == {build}
        assert not (workshop.scratch / "tinyd").exists()
    assert (await asyncio.wait_for(build, 500)).files["tinyd"].is_file()


def test_the_stamp_names_dependencies_and_flags(tiny: GoModule):
    before = tiny.stamp(("tiny",))
    others = [
        GoModule(tiny.wrapper, tiny.module, tiny.package, tags="more", stamps=tiny.stamps),
        GoModule(tiny.wrapper, tiny.module, tiny.package, stamps=()),
        GoModule(tiny.wrapper, tiny.module, tiny.package, stamps=tiny.stamps, cgo=True),
    ]
    assert before not in {other.stamp(("tiny",)) for other in others}
    (tiny.wrapper / "go.sum").write_text("example.com/other v1.0.0 h1:x\n")
    assert tiny.stamp(("tiny",)) != before


async def test_an_old_toolchain_is_passed_over(
    tmp_path: Path, cache: Cache, progress: Progress, monkeypatch: pytest.MonkeyPatch
):
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go version go1.24.4 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setattr(gotools, "system_programs", lambda: [old])
    asked: list[Path] = []

    async def no_network(_self: GoTools, folder: Path) -> None:
        asked.append(folder)

    monkeypatch.setattr(GoTools, "_install", no_network)
    with pytest.raises(TercetError, match="but it answers nothing"):
        await GoTools(cache).find(progress)
    assert asked == [cache.toolchain / f"go-{PYPI_VERSION}"]


async def test_an_installed_toolchain_is_used_without_a_network(
    cache: Cache, progress: Progress, monkeypatch: pytest.MonkeyPatch
):
    go = cache.toolchain / f"go-{PYPI_VERSION}" / "go" / "bin" / "go"
    go.parent.mkdir(parents=True)
    go.write_text(f"#!/bin/sh\necho go version go{PYPI_VERSION} linux/amd64\n")
    go.chmod(0o755)
    monkeypatch.setattr(gotools, "system_programs", list)
    assert await GoTools(cache).find(progress) == (go, PYPI_VERSION)
