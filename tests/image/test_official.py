"""Vendors' releases, served on the loopback as the vendors lay them out."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tercet.errors import TercetError
from tercet.image import openpgp
from tercet.image.checksums import digest_of
from tercet.image.distsign import keys_of
from tercet.image.elf import host_arch
from tercet.image.openpgp import Key, dearmor
from tercet.image.sources.hashicorp import KEY, HashiCorp
from tercet.image.sources.headscale import HeadscaleRelease
from tercet.image.sources.source import Unavailable, Wanted, Workshop
from tercet.image.sources.tailscale import ROOTS, TailscaleArchive

from .conftest import Vendor, elf, sha256

ARCH = host_arch()
CONSUL = Wanted("consul", "1.22.7", ARCH, ("consul",))
TAILSCALE = Wanted("tailscale", "1.98.10", ARCH, ("tailscaled", "tailscale"))
HEADSCALE = Wanted("headscale", "0.29.2", ARCH, ("headscale",))


class Signer:
    """A key of the test's own in a GnuPG home of the test's own."""

    def __init__(self, home: Path, name: str) -> None:
        self._home = home
        home.mkdir(mode=0o700)
        self._gpg("--quick-gen-key", name, "ed25519", "sign", "never")
        listed = self._gpg("--list-keys", "--with-colons").decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        public = home / "public.asc"
        public.write_bytes(self._gpg("--armor", "--export"))
        self.key = Key(public, fingerprint)

    def sign(self, content: bytes) -> bytes:
        return self._gpg("--detach-sign", stdin=content)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self._home, "--kill", "all"], timeout=20, check=False)

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self._home), "--batch", "--quiet", "--passphrase", "", *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture(params=["gpgv", "sqv"])
def signers(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Signer, Signer]]:
    """Two keys, the vendor's and a stranger's; and a machine that has one of the two verifiers."""
    if missing := [program for program in ("gpg", request.param) if not shutil.which(program)]:
        pytest.skip(f"needs {' and '.join(missing)}, which is not installed here")
    monkeypatch.setattr(openpgp, "VERIFIERS", {request.param: openpgp.VERIFIERS[request.param]})
    folder = tmp_path_factory.mktemp("gpg")
    vendor, stranger = Signer(folder / "a", "vendor"), Signer(folder / "b", "stranger")
    yield vendor, stranger
    vendor.close()
    stranger.close()


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(body), 0o755
            archive.addfile(member, io.BytesIO(body))
    return content.getvalue()


def publish(vendor: Vendor, signer: Signer, archive: bytes) -> bytes:
    """A HashiCorp release of consul; returns the checksum file."""
    name = f"consul_1.22.7_linux_{ARCH}.zip"
    sums = f"{sha256(b'other')}  consul_1.22.7_darwin_arm64.zip\n{sha256(archive)}  {name}\n".encode()
    vendor.serve(f"/consul/1.22.7/{name}", archive)
    vendor.serve("/consul/1.22.7/consul_1.22.7_SHA256SUMS", sums)
    vendor.serve("/consul/1.22.7/consul_1.22.7_SHA256SUMS.sig", signer.sign(sums))
    return sums


async def test_hashicorp_verifies_signature_and_checksum(
    vendor: Vendor, workshop: Workshop, signers: tuple[Signer, Signer]
):
    signer, _ = signers
    publish(vendor, signer, zipped(**{"LICENSE.txt": b"", "consul": elf()}))
    fetched = await HashiCorp("consul", vendor.url, signer.key).fetch(CONSUL, workshop)
    assert fetched.files["consul"].read_bytes() == elf()
    assert signer.key.fingerprint in fetched.origin


async def test_hashicorp_refuses_a_stranger_and_a_changed_list(
    vendor: Vendor, workshop: Workshop, signers: tuple[Signer, Signer]
):
    signer, stranger = signers
    source = HashiCorp("consul", vendor.url, signer.key)
    sums = publish(vendor, signer, zipped(consul=elf()))
    path = "/consul/1.22.7/consul_1.22.7_SHA256SUMS"
    for signature, content in (
        (stranger.sign(sums), sums),
        (signer.sign(sums), sums.replace(b"a", b"b")),
        (b"no signature", sums),
    ):
        vendor.serve(f"{path}.sig", signature)
        vendor.serve(path, content)
        with pytest.raises(TercetError, match="should carry a valid signature") as caught:
            await source.fetch(CONSUL, workshop)
        assert not isinstance(caught.value, Unavailable)
    assert not any(asked.endswith(".zip") for asked in vendor.paths())  # nothing was fetched on a false list


async def test_hashicorp_without_a_signature_is_not_had(
    vendor: Vendor, workshop: Workshop, signers: tuple[Signer, Signer]
):
    signer, _ = signers
    publish(vendor, signer, zipped(consul=elf()))
    del vendor.replies["/consul/1.22.7/consul_1.22.7_SHA256SUMS.sig"]
    with pytest.raises(Unavailable, match=r"SHA256SUMS\.sig answers 404"):
        await HashiCorp("consul", vendor.url, signer.key).fetch(CONSUL, workshop)


async def test_hashicorp_archive_without_the_program(
    vendor: Vendor, workshop: Workshop, signers: tuple[Signer, Signer]
):
    signer, _ = signers
    publish(vendor, signer, zipped(readme=b""))
    with pytest.raises(TercetError, match="should hold the program consul"):
        await HashiCorp("consul", vendor.url, signer.key).fetch(CONSUL, workshop)


def test_the_key_in_the_package_has_the_published_fingerprint():
    packets = dearmor(KEY.path.read_text())
    tag, length = packets[0], int.from_bytes(packets[1:3], "big")
    assert tag == 0x99  # a public key packet with a length of two bytes
    body = packets[3 : 3 + length]
    fingerprint = hashlib.sha1(b"\x99" + length.to_bytes(2, "big") + body).hexdigest().upper()  # RFC 9580, 5.5.4.1
    assert fingerprint == KEY.fingerprint == "C874011F0AB405110D02105534365D9472D7468F"


class Tailscale:
    """pkgs.tailscale.com with keys of the test's own."""

    def __init__(self, vendor: Vendor, folder: Path) -> None:
        self._vendor = vendor
        self.root, self.signing = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        roots = folder / "roots.pem"
        roots.write_bytes(pem("ROOT", Ed25519PrivateKey.generate()) + pem("ROOT", self.root))
        self.source = TailscaleArchive(vendor.url, roots)
        self.publish_keys(self.root)

    def publish_keys(self, root: Ed25519PrivateKey) -> None:
        """Two signing keys, the second in use, signed by `root`."""
        bundle = pem("SIGNING", Ed25519PrivateKey.generate()) + b"\n" + pem("SIGNING", self.signing)
        self._vendor.serve("/distsign.pub", bundle)
        self._vendor.serve("/distsign.pub.sig", root.sign(bundle))

    def publish(self, archive: bytes, key: Ed25519PrivateKey | None = None) -> None:
        """The archive of TAILSCALE, its checksum, and its signature by `key` (default: the signing key)."""
        url = f"/stable/tailscale_1.98.10_{ARCH}.tgz"
        self._vendor.serve(url, archive)
        self._vendor.serve(f"{url}.sha256", sha256(archive).encode())
        message = hashlib.blake2s(archive).digest() + len(archive).to_bytes(8, "little")
        self._vendor.serve(f"{url}.sig", (key or self.signing).sign(message))


def pem(kind: str, key: Ed25519PrivateKey) -> bytes:
    """The public key as Tailscale writes it: its 32 bytes, no ASN.1."""
    raw = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return f"-----BEGIN {kind} PUBLIC KEY-----\n{raw}\n-----END {kind} PUBLIC KEY-----\n".encode()


@pytest.fixture
def tailscale(vendor: Vendor, tmp_path: Path) -> Tailscale:
    return Tailscale(vendor, tmp_path)


async def test_tailscale_takes_both_programs(tailscale: Tailscale, workshop: Workshop):
    folder = f"tailscale_1.98.10_{ARCH}"
    archive = tarred(
        {
            f"{folder}/tailscale": elf(salt=b"cli"),
            f"{folder}/tailscaled": elf(salt=b"daemon"),
            f"{folder}/systemd/tailscaled.service": b"[Unit]",
        }
    )
    tailscale.publish(archive)
    fetched = await tailscale.source.fetch(TAILSCALE, workshop)
    assert fetched.origin.endswith(f"/stable/{folder}.tgz, signed by Tailscale")
    assert fetched.files["tailscaled"].read_bytes() == elf(salt=b"daemon")
    assert fetched.files["tailscale"].read_bytes() == elf(salt=b"cli")


async def test_tailscale_archive_that_lacks_one(tailscale: Tailscale, workshop: Workshop):
    tailscale.publish(tarred({"tailscale/tailscale": elf()}))
    with pytest.raises(TercetError, match="has no tailscaled"):
        await tailscale.source.fetch(TAILSCALE, workshop)


async def test_tailscale_archive_that_another_key_signed_is_set_aside(tailscale: Tailscale, workshop: Workshop):
    tailscale.publish(tarred({"tailscale/tailscale": elf()}), Ed25519PrivateKey.generate())
    with pytest.raises(TercetError, match="should carry a signature of one of Tailscale's signing keys, but does not"):
        await tailscale.source.fetch(TAILSCALE, workshop)
    assert [file.suffix for file in workshop.cache.downloads.iterdir()] == [".bad"]


async def test_tailscale_archive_signed_by_a_root_key_itself_is_refused(tailscale: Tailscale, workshop: Workshop):
    tailscale.publish(tarred({"tailscale/tailscale": elf()}), tailscale.root)
    with pytest.raises(TercetError, match="signing keys, but does not"):
        await tailscale.source.fetch(TAILSCALE, workshop)


async def test_tailscale_keys_that_no_root_key_signed_are_refused(
    tailscale: Tailscale, vendor: Vendor, workshop: Workshop
):
    tailscale.publish_keys(tailscale.signing)
    tailscale.publish(tarred({"tailscale/tailscale": elf()}))
    with pytest.raises(TercetError, match=r"distsign\.pub should carry a signature of one of Tailscale's root keys"):
        await tailscale.source.fetch(TAILSCALE, workshop)
    assert vendor.paths() == ["/distsign.pub", "/distsign.pub.sig"]


def test_the_root_keys_are_tailscales():
    """Both, as in clientupdate/distsign/roots of tailscale.com 1.98.10."""
    keys = keys_of(ROOTS.read_bytes(), "ROOT")
    assert [base64.b64encode(key.public_bytes_raw()).decode()[:8] for key in keys] == ["Psrabv2Y", "ZjjKhUHB"]


async def test_headscale_release(vendor: Vendor, workshop: Workshop):
    name = f"headscale_0.29.2_linux_{ARCH}"
    vendor.serve(f"/v0.29.2/{name}", elf())
    vendor.serve("/v0.29.2/checksums.txt", f"{sha256(elf())}  {name}\n".encode())
    fetched = await HeadscaleRelease(vendor.url).fetch(HEADSCALE, workshop)
    assert fetched.files["headscale"].read_bytes() == elf()


async def test_headscale_release_that_is_not_listed(vendor: Vendor, workshop: Workshop):
    vendor.serve("/v0.29.2/checksums.txt", f"{sha256(elf())}  headscale_0.29.2_freebsd_amd64\n".encode())
    with pytest.raises(TercetError, match="should list the sha256"):
        await HeadscaleRelease(vendor.url).fetch(HEADSCALE, workshop)


@pytest.mark.parametrize(
    "text",
    [
        f"{'a' * 64}  other\n{'B' * 64}  thing.zip\n",
        f"{'b' * 64} *thing.zip\n",
        f"{'b' * 64}\n",
    ],
)
def test_checksum_files_are_read(text: str):
    assert digest_of("thing.zip", text, "there") == "b" * 64


@pytest.mark.parametrize("text", ["", "<html>", f"{'b' * 64}  other\n", f"{'b' * 63}\n", f"{'b' * 64}\n{'a' * 64}\n"])
def test_checksum_files_without_the_name_are_refused(text: str):
    with pytest.raises(TercetError, match=r"there should list the sha256 of thing\.zip"):
        digest_of("thing.zip", text, "there")
