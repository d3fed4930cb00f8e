"""Asks where the parts come from whether they have later versions. A source that is silent costs its time limit.

What comes from Go's module proxy is not verified, and neither is it installed. Debian's lists are, by apt.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tercet.errors import TercetError
from tercet.host.process import need, run
from tercet.image.archives import listed, name_of
from tercet.image.base import KEYRING, mirror, package_sources
from tercet.image.catalog import component
from tercet.image.debian_version import order
from tercet.image.parts import Contents, Kind, module_of
from tercet.image.sources.go_module import PROXY, escaped

REQUEST_TIMEOUT = 10.0  # seconds for one answer of a module proxy
LISTS_TIMEOUT = 120.0  # seconds for Debian's lists, 10 MB
RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")

# As a file, because apt reads the host's settings before its command line, and these may run programs of the host.
APT_CONF = """\
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
APT::Architecture "{arch}";
APT::Architectures "{arch}";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::Retries "0";
Acquire::http::Timeout "5";
Acquire::https::Timeout "5";
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """The newest later version of each part that has one, by kind and name. `unknown` says what could not be asked."""

    later: Mapping[tuple[Kind, str], str]
    unknown: tuple[str, ...]


async def later_versions(contents: Contents, suite: str) -> Answers:
    """Ask for all parts of the image. Takes at most as long as the slowest source. Raises nothing for a silent one."""
    versions = {part.name: part.version for part in contents.parts if part.kind is Kind.PROGRAM}
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT, follow_redirects=True) as client:
        *programs, (debian, silent) = await asyncio.gather(
            *(_of_component(name, versions, client) for name in contents.components), _of_debian(contents, suite)
        )
    later: dict[tuple[Kind, str], str] = {}
    unknown: list[str] = []
    for found, reason in programs:
        later |= {(Kind.PROGRAM, name): version for name, version in found.items()}
        unknown += filter(None, [reason])
    later |= {(Kind.DEBIAN, name): version for name, version in debian.items()}
    return Answers(later, (*unknown, *filter(None, [silent])))


async def _of_component(
    name: str, versions: Mapping[str, str], client: httpx.AsyncClient
) -> tuple[dict[str, str], str]:
    """The later version of each program of a component, or why it is not known."""
    package = component(name)
    module = module_of(package)
    if not module:
        return {}, f"{name}: no package source knows its versions"
    current = next(versions[program] for program in package.programs)
    try:
        known = await _versions_of(module, client)
    except TercetError as error:
        return {}, f"{name}: {error}"
    newest = max(known, key=_numbers, default="")
    if newest and _numbers(f"v{current}") and _numbers(newest) > _numbers(f"v{current}"):
        return dict.fromkeys(package.programs, newest.removeprefix("v")), ""
    if f"v{current}" not in known:
        return {}, f"{name}: the module proxy's list of versions does not have {current} itself"
    return {}, ""


async def _versions_of(module: str, client: httpx.AsyncClient) -> set[str]:
    """All releases of a module that the proxy lists. Raises TercetError if it does not answer."""
    proxy = go_proxy()
    url = f"{proxy}/{escaped(module)}/@v/list"
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            answer = await client.get(url)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise TercetError(f"{url} answers {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # TimeoutError is an OSError
        raise TercetError(f"{proxy} could not be asked ({str(error) or 'no answer in time'})") from error
    return {version for version in answer.text.split() if RELEASE.fullmatch(version)}


def go_proxy() -> str:
    """The first proxy of Go's variable GOPROXY, or the public one. Raises TercetError if it allows none."""
    wanted = os.environ.get("GOPROXY") or PROXY
    first = re.split(r"[,|]", wanted)[0].rstrip("/")
    if not first.startswith(("http://", "https://")):
        raise TercetError(f"GOPROXY is {wanted}, so there is no module proxy to ask")
    return first


def _numbers(version: str) -> tuple[int, ...]:
    """For "v1.22.7": (1, 22, 7). Empty for anything but a release."""
    found = RELEASE.fullmatch(version)
    return tuple(map(int, found.groups())) if found else ()


async def _of_debian(contents: Contents, suite: str) -> tuple[dict[str, str], str]:
    """The later version of each Debian package, or why they are not known."""
    packages = {part.name: part.version for part in contents.parts if part.kind is Kind.DEBIAN}
    with tempfile.TemporaryDirectory(prefix="tercet-lists-") as name:
        folder = Path(name)
        try:
            await _update(folder, suite, contents.arch)
        except TercetError as error:
            said = str(error).splitlines()
            return {}, f"Debian: {mirror()} could not be asked ({said[min(1, len(said) - 1)].strip()})"
        return await asyncio.to_thread(newer, packages, folder / "state/lists"), ""


async def _update(folder: Path, suite: str, arch: str) -> None:
    """Have apt fetch and verify Debian's lists into `folder`. Touches nothing else on this machine."""
    need("apt-get", "apt")
    _prepare(folder, suite, arch)
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
    await run(["apt-get", "--quiet", "update"], timeout=LISTS_TIMEOUT, env=environment)


def _prepare(folder: Path, suite: str, arch: str) -> None:
    """The settings and folders of an apt of its own."""
    folder.chmod(0o755)  # apt drops root to download
    for each in ("state/lists/partial", "cache/archives/partial"):
        (folder / each).mkdir(parents=True)
    signed = [line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in package_sources(suite, mirror())]
    (folder / "sources.list").write_text("\n".join(signed) + "\n")
    (folder / "apt.conf").write_text(APT_CONF.format(folder=folder, arch=arch))


def newer(packages: Mapping[str, str], lists: Path) -> dict[str, str]:
    """The newest version in apt's lists of each package that has a later one than its own."""
    found = dict(packages)
    for each in listed(lists):
        name, version = name_of(each), each["Version"]
        if name in found and version != found[name] and order(version) > order(found[name]):
            found[name] = version
    return {name: version for name, version in found.items() if version != packages[name]}
