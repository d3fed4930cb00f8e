"""A registry on the loopback that asks for a token, as ghcr.io does."""

from __future__ import annotations

import io
import json
import tarfile
from http.server import BaseHTTPRequestHandler

import pytest

from tercet.errors import TercetError
from tercet.image.elf import host_arch
from tercet.image.sources.oci_image import OciImage
from tercet.image.sources.source import Unavailable, Wanted, Workshop

from .conftest import Reply, Vendor, elf, sha256

COMMIT = "5b038813eb14f181434ab7b5509e74d9b1fe123b"
WANTED = Wanted("pgcat", "5b03881", host_arch(), ("pgcat",))
INDEX = "application/vnd.oci.image.index.v1+json"


def layer(files: dict[str, bytes], mode: int = 0o755) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(body), mode
            archive.addfile(member, io.BytesIO(body))
    return content.getvalue()


class Registry:
    """One repository. Every answer but the challenge needs the token."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.image = OciImage("postgresml/pgcat", {"5b03881": COMMIT}, vendor.url)
        challenge = f'Bearer realm="{vendor.url}/token",service="registry",scope="repository:user/image:pull"'
        vendor.serve("/v2/", b"{}", status=401, headers={"WWW-Authenticate": challenge})
        vendor.serve("/token?scope=repository%3Apostgresml%2Fpgcat%3Apull&service=registry", b'{"token": "a token"}')

    def put(self, path: str, body: bytes) -> None:
        def answer(request: BaseHTTPRequestHandler) -> Reply:
            if request.headers.get("Authorization") != "Bearer a token":
                return Reply(b"who are you?", 401)
            return Reply(body)

        self.vendor.replies[f"/v2/postgresml/pgcat/{path}"] = answer

    def blob(self, body: bytes) -> dict[str, str]:
        digest = f"sha256:{sha256(body)}"
        self.put(f"blobs/{digest}", body)
        return {"digest": digest}

    def publish(self, *layers: bytes, tag: str = COMMIT, commit: str = COMMIT, arch: str | None = None) -> str:
        """Put an image there, in an index; returns the index's digest."""
        labels = {"org.opencontainers.image.revision": commit}
        config = json.dumps({"architecture": "x", "config": {"Labels": labels, "Cmd": ["pgcat"]}}).encode()
        manifest = json.dumps(
            {"schemaVersion": 2, "config": self.blob(config), "layers": [self.blob(body) for body in layers]}
        ).encode()
        digest = f"sha256:{sha256(manifest)}"
        self.put(f"manifests/{digest}", manifest)
        platforms = [("linux", "s390x", "sha256:" + "0" * 64), ("linux", arch or host_arch(), digest)]
        index = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [
                    {"digest": digest, "platform": {"os": os, "architecture": architecture}}
                    for os, architecture, digest in platforms
                ],
            }
        ).encode()
        self.put(f"manifests/{tag}", index)
        return f"sha256:{sha256(index)}"


@pytest.fixture
def registry(vendor: Vendor) -> Registry:
    return Registry(vendor)


async def test_the_program_of_the_topmost_layer_that_has_it(registry: Registry, workshop: Workshop):
    digest = registry.publish(
        layer({"usr/bin/pgcat": elf(salt=b"old"), "etc/passwd": b""}),
        layer({"usr/bin/pgcat": elf(salt=b"new")}),
        layer({"etc/pgcat/pgcat.toml": b""}),
    )
    fetched = await registry.image.fetch(WANTED, workshop)
    assert fetched.files["pgcat"].read_bytes() == elf(salt=b"new")
    assert digest in fetched.origin
    assert COMMIT in fetched.origin


async def test_a_plain_manifest_without_an_index(registry: Registry, workshop: Workshop):
    labels = {"org.opencontainers.image.revision": COMMIT}
    config = registry.blob(json.dumps({"config": {"Labels": labels}}).encode())
    manifest = json.dumps({"config": config, "layers": [registry.blob(layer({"pgcat": elf()}))]}).encode()
    registry.put(f"manifests/{COMMIT}", manifest)
    assert (await registry.image.fetch(WANTED, workshop)).files["pgcat"].read_bytes() == elf()


async def test_latest_serves_where_the_commits_tag_is_gone(registry: Registry, workshop: Workshop):
    registry.publish(layer({"usr/bin/pgcat": elf()}), tag="latest")
    assert (await registry.image.fetch(WANTED, workshop)).files["pgcat"].read_bytes() == elf()


async def test_an_image_of_another_commit_is_not_the_one(registry: Registry, workshop: Workshop):
    registry.publish(layer({"usr/bin/pgcat": elf()}), tag="latest", commit="f" * 40)
    with pytest.raises(Unavailable, match=f"built from {'f' * 40}, not from {COMMIT}"):
        await registry.image.fetch(WANTED, workshop)


async def test_no_image_for_this_architecture(registry: Registry, workshop: Workshop):
    registry.publish(layer({"usr/bin/pgcat": elf()}), arch="riscv64")
    with pytest.raises(Unavailable, match=f"no image for linux/{host_arch()}"):
        await registry.image.fetch(WANTED, workshop)


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_a_changed_manifest_config_or_layer_is_refused(registry: Registry, workshop: Workshop, kind: str):
    registry.publish(layer({"usr/bin/pgcat": elf()}))
    for path in [path for path in registry.vendor.replies if f"/{kind}/sha256:" in path]:
        kept = registry.vendor.replies[path]
        registry.put(path.removeprefix("/v2/postgresml/pgcat/"), b'{"forged": true}')
        with pytest.raises(TercetError, match="sha256") as caught:
            await registry.image.fetch(WANTED, workshop)
        assert not isinstance(caught.value, Unavailable)
        registry.vendor.replies[path] = kept


async def test_an_image_without_the_program(registry: Registry, workshop: Workshop):
    registry.publish(layer({"usr/bin/pgcat": b"a note"}, mode=0o644), layer({"usr/share/doc/pgcat": b""}, mode=0o644))
    with pytest.raises(TercetError, match="should hold the program pgcat"):
        await registry.image.fetch(WANTED, workshop)


async def test_no_registry_there(workshop: Workshop):
    image = OciImage("postgresml/pgcat", {}, "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await image.fetch(WANTED, workshop)


async def test_no_registry_but_something_else(vendor: Vendor, workshop: Workshop):
    vendor.serve("/v2/", b"<html>")
    vendor.serve("/v2/postgresml/pgcat/manifests/5b03881", b"<html>")
    with pytest.raises(TercetError, match="answered what no registry should"):
        await OciImage("postgresml/pgcat", {}, vendor.url).fetch(WANTED, workshop)


async def test_the_token_is_in_no_message(registry: Registry, workshop: Workshop, events):
    registry.publish(layer({"usr/share/doc/pgcat": b""}, mode=0o644))
    with pytest.raises(TercetError) as caught:
        await registry.image.fetch(WANTED, workshop)
    assert "a token" not in str(caught.value) + repr(events)
