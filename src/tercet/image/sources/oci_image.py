"""The source `oci-image`: extracts a program from a container image in a registry (OCI distribution, pull).

Everything is verified by digest: the manifest has the digests of the configuration and of the layers. The label in the
configuration must name the wanted commit, so a moved tag is detected. The manifest's own digest is resolved once and
kept in the lock file.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import TercetError
from tercet.image.sources.source import Fetched, Source, Unavailable, Wanted, Workshop

MANIFEST_TYPES = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
REVISION = "org.opencontainers.image.revision"
Shape = TypeVar("Shape", bound=BaseModel)


class _Json(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Platform(_Json):
    os: str = ""
    architecture: str = ""


class _Descriptor(_Json):
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    platform: _Platform = _Platform()


class _Manifest(_Json):
    """An image manifest (config and layers) or an index of them (manifests)."""

    manifests: tuple[_Descriptor, ...] = ()
    config: _Descriptor | None = None
    layers: tuple[_Descriptor, ...] = ()


class _Settings(_Json):
    labels: dict[str, str] = Field(default={}, alias="Labels")


class _Config(_Json):
    config: _Settings = _Settings()


class _Token(_Json):
    token: str = Field(default="", repr=False)
    access_token: str = Field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class OciImage(Source):
    """`repository` at `base_url`. `commits` maps a version to the whole commit whose build is wanted.

    The image's publisher tags every build with its commit; `latest` is used if that tag is gone.
    """

    repository: str
    commits: dict[str, str] = field(default_factory=dict)
    base_url: str = "https://ghcr.io"

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        program = wanted.programs[0]
        registry = _Registry(self, workshop)
        await registry.log_in()
        commit = self.commits.get(wanted.version, wanted.version)
        digest, manifest = await registry.resolve((commit, "latest"), wanted.arch)
        if manifest.config is None:
            raise TercetError(f"{self._at(digest)} is not an image manifest (it names no configuration)")
        config = _parse(_Config, await registry.blob_bytes(manifest.config.digest), self._at(digest))
        built_from = config.config.labels.get(REVISION, "")
        if not built_from.startswith(commit):
            raise Unavailable(
                f"{self._at(digest)} is built from {built_from or 'an unnamed commit'}, not from {commit}"
            )
        for layer in reversed(manifest.layers):  # the topmost layer that has the file counts
            blob = await registry.blob_file(layer.digest)
            target = workshop.scratch / program
            if await asyncio.to_thread(extract, blob, program, target):
                return Fetched({program: target}, f"{self._at(digest)}, commit {commit}")
        raise TercetError(f"{self._at(digest)} should hold the program {program}, but no layer of it does")

    def _at(self, reference: str) -> str:
        return f"{self.base_url.removeprefix('https://')}/{self.repository}@{reference}"


class _Registry:
    """One repository, read with the token that the registry requires."""

    def __init__(self, image: OciImage, workshop: Workshop) -> None:
        self._url = f"{image.base_url}/v2/{image.repository}"
        self._image = image
        self._workshop = workshop
        self._headers: dict[str, str] = {}

    async def log_in(self) -> None:
        """Get an anonymous token, as the registry's challenge describes (distribution spec: token authentication)."""
        challenge = await self._workshop.downloads.small(f"{self._image.base_url}/v2/", accept=(401,))
        if challenge.status_code != 401:
            return
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge.headers.get("www-authenticate", "")))
        if "realm" not in asked:
            raise TercetError(f"{self._image.base_url} asks for a login, but names no place to get a token")
        query = {"scope": f"repository:{self._image.repository}:pull"}
        if "service" in asked:
            query["service"] = asked["service"]
        answer = await self._workshop.downloads.small(f"{asked['realm']}?{urlencode(query)}")
        token = _parse(_Token, answer.content, asked["realm"])
        self._headers = {"Authorization": f"Bearer {token.token or token.access_token}"}

    async def resolve(self, tags: tuple[str, ...], arch: str) -> tuple[str, _Manifest]:
        """The digest of the first existing tag, and the manifest for this architecture."""
        answer = await self._first(tags)
        digest = f"sha256:{hashlib.sha256(answer).hexdigest()}"
        manifest = _parse(_Manifest, answer, self._url)
        if not manifest.manifests:
            return digest, manifest
        for entry in manifest.manifests:
            if (entry.platform.os, entry.platform.architecture) == ("linux", arch):
                content = await self._manifest(entry.digest)
                _check(content, entry.digest, self._url)
                return digest, _parse(_Manifest, content, self._url)
        raise Unavailable(f"{self._url} has no image for linux/{arch}")

    async def _first(self, tags: tuple[str, ...]) -> bytes:
        for tag in tags[:-1]:
            try:
                return await self._manifest(tag)
            except Unavailable as error:
                self._workshop.progress.say(str(error))
        return await self._manifest(tags[-1])

    async def _manifest(self, reference: str) -> bytes:
        headers = {**self._headers, "Accept": MANIFEST_TYPES}
        return (await self._workshop.downloads.small(f"{self._url}/manifests/{reference}", headers)).content

    async def blob_bytes(self, digest: str) -> bytes:
        content = (await self._workshop.downloads.small(f"{self._url}/blobs/{digest}", self._headers)).content
        _check(content, digest, self._url)
        return content

    async def blob_file(self, digest: str) -> Path:
        url = f"{self._url}/blobs/{digest}"
        return await self._workshop.downloads.file(
            url, digest.removeprefix("sha256:"), self._workshop.progress, self._headers
        )


def extract(layer: Path, program: str, target: Path) -> bool:
    """Copy the program from a layer to `target`. False if the layer does not have it."""
    try:
        with tarfile.open(layer) as opened:
            for member in opened:
                if not (member.isfile() and Path(member.name).name == program and member.mode & 0o100):
                    continue
                stream = opened.extractfile(member)
                if stream is not None:
                    with target.open("wb") as out:
                        shutil.copyfileobj(stream, out, 1 << 20)
                    target.chmod(0o755)
                    return True
    except tarfile.TarError as error:
        raise TercetError(f"the image layer {layer} should be a tar archive, but: {error}") from error
    return False


def _check(content: bytes, digest: str, where: str) -> None:
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != digest:
        raise TercetError(f"{where} should answer with {digest}, but what came has {found}; do not use this source")


def _parse(shape: type[Shape], content: bytes, where: str) -> Shape:
    try:
        return shape.model_validate_json(content)
    except ValidationError as error:
        raise TercetError(f"{where} answered what no registry should: {error}") from error
