"""The operator's side of the farm: raises it, a headscale beside it, and the inventory for both."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tercet.converge.events import silent
from tercet.image.build import ensure_image
from tercet.inventory.load import load
from tercet.providers.lab.cgroup import Cgroups, emptied, kill, remove
from tests.lab.conftest import Lab, make_lab, wait_until
from tests.proxmox.fakehost import SECRET, TOKEN

NAME = "t-pve"
SITES = ("sib-01", "sib-03", "fsn-01")
WORLD = "10.79.250.1"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Farm(Lab):
    """The inventory, and the servers it speaks of."""

    namespace: str
    servers: subprocess.Popen[str]

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *super().command(*words)]

    def on(self, node: str, script: str, timeout: float = 120.0) -> str:
        """By the command line, which runs in the farm's network."""
        return self.call("exec", node, "--", "sh", "-c", script, timeout=timeout).stdout

    def reaches_ssh(self, address: str) -> bool:
        """Whether SSH at the address answers this side of the farm within two seconds."""
        knock = f"exec 3<> /dev/tcp/{address}/22 && read -r -t 2 <&3"
        words = ["nsenter", f"--net=/run/netns/{self.namespace}", "--", "timeout", "2", "bash", "-c", knock]
        return subprocess.run(words, capture_output=True, check=False, timeout=10).returncode == 0

    def obey(self, *words: str) -> Any:
        assert self.servers.stdin and self.servers.stdout
        self.servers.stdin.write(" ".join(words) + "\n")
        self.servers.stdin.flush()
        return json.loads(self.servers.stdout.readline())

    def probe(self, script: str) -> Any:
        """Run Python against the provider itself; `v` is one, `out` what is returned. In the farm's network."""
        text = PROBE.replace("FILE", repr(str(self.file))).replace("SCRIPT", script.replace("\n", "\n    "))
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", "--", sys.executable, "-c", text],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


PROBE = """
import asyncio, json
from pathlib import Path
from tercet.inventory.load import load
from tercet.providers.proxmox.provider import ProxmoxProvider

async def main():
    file, out = Path(FILE), []
    v = ProxmoxProvider(load(file), None, file.with_name("tercet.known_hosts"))
    nodes = await v.running()
    SCRIPT
    await v.close()
    print(json.dumps(out))

asyncio.run(main())
"""


@contextmanager
def raised_farm(folder: Path, name: str = NAME) -> Iterator[Farm]:
    """The servers, the control server and the inventory, in `folder`; all is gone afterwards."""
    place = Path("/var/lib") / f"tercet-{name}"  # containers' root cannot enter pytest's private folders
    namespace = f"tercet-{name}"
    clean(namespace, place, name)
    place.mkdir()
    subprocess.run(["ip", "netns", "add", namespace], check=True, timeout=60)
    servers = headscale = None
    try:
        servers = subprocess.Popen(
            inside(namespace, sys.executable, "-m", "tests.lab.pvefarm", str(place), name, *SITES),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert servers.stdout
        sites = json.loads(servers.stdout.readline())
        lab = make_lab(folder / "lab", f"{name}-lab")
        image = asyncio.run(ensure_image(load(lab.file).settings, lab.file.with_name("tercet.lock.json"), silent))
        program = next(each.source for each in image.programs if each.name == "headscale")
        headscale, key = start_headscale(folder, namespace, program)
        file = folder / "tercet.yml"
        file.write_text(yaml.safe_dump(inventory(name, sites, folder)))
        shutil.copy(lab.file.with_name("tercet.lock.json"), folder)
        asyncio.run(ensure_image(load(file).settings, folder / "tercet.lock.json", silent))
        os.environ |= {"T_PVE_SECRET": SECRET, "T_HEADSCALE_KEY": key}
        yield Farm(file, namespace, servers)
    finally:
        try:
            if servers is not None and servers.stdin:
                servers.stdin.close()  # which ends them, and their containers
                end(servers, 180)
        finally:
            if headscale is not None:
                headscale.terminate()
                end(headscale, 10)
            clean(namespace, place, name)


def end(process: subprocess.Popen[str], seconds: float) -> None:
    """Kill what has not ended by then. headscale waits for its clients, of which some are silent at the end: seen to
    ignore SIGTERM for a minute."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=60)


def inside(namespace: str, *argv: str) -> list[str]:
    """In the farm's network, with control groups as LXC wants to see them."""
    script = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
    return ["ip", "netns", "exec", namespace, "sh", "-c", script, "sh", *argv]


def clean(namespace: str, place: Path, name: str) -> None:
    """Nothing is left, not even of a farm whose servers were killed."""
    cgroups = Cgroups(name)
    kill(cgroups.lab)
    asyncio.run(emptied(cgroups.lab, 60))
    with contextlib.suppress(OSError):
        remove(cgroups.lab)
    subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True, timeout=60)
    shutil.rmtree(place, ignore_errors=True)


def inventory(name: str, sites: dict[str, Any], folder: Path) -> dict[str, Any]:
    size = {"cores": 2, "memory": "1G", "disk": "8G"}
    return {
        "platform": name,
        "provider": "proxmox",
        "tailnet": {
            "login_server": f"https://{WORLD}",
            "ca": str(folder / "headscale.crt"),
            "api_key": "env:T_HEADSCALE_KEY",
        },
        "proxmox": {
            "login": TOKEN,
            "secret": "env:T_PVE_SECRET",
            "sizes": {role: dict(size) for role in ("consul_nomad", "apps", "db")},
        },
        "sites": [
            {
                "name": site,
                "datacenter": f"dc{n}",
                "database": "primary" if n == 1 else "standby",
                "proxmox": sites[site],
            }
            for n, site in enumerate(SITES, start=1)
        ],
    }


@contextmanager
def operator_in_the_tailnet(farm: Farm) -> Iterator[None]:
    """This side of the farm becomes a member of the tailnet, as an operator's machine is."""
    folder, prefix = farm.file.parent, ["nsenter", f"--net=/run/netns/{farm.namespace}", "--"]
    lock = json.loads(farm.file.with_name("tercet.lock.json").read_text())
    cache = load(farm.file).settings.cache / "programs"
    programs = lock["components"]["tailscale"]["programs"]
    tailscaled, tailscale = (
        str(cache / name / programs[name]["sha256"] / name) for name in ("tailscaled", "tailscale")
    )
    authorities = folder / "authorities"
    authorities.mkdir()
    shutil.copy(folder / "headscale.crt", authorities)
    key = json.loads(headscale(farm, "/preauthkey", {"reusable": True, "aclTags": ["tag:tercet"], "expiration": SOON}))
    way = f"--socket={folder / 'tailscaled.sock'}"
    with (folder / "tailscaled.log").open("w") as log:
        options = ["--tun=tailscale0", "--state=mem:", way, "--no-logs-no-support"]
        daemon = subprocess.Popen(
            [*prefix, tailscaled, *options],
            stdout=log,
            stderr=log,
            text=True,
            env=os.environ | {"SSL_CERT_DIR": str(authorities)},
        )
    try:
        wait_until("tailscaled listens", lambda: listens(folder / "tailscaled.sock"), 120)
        login = [f"--login-server=https://{WORLD}", f"--auth-key={key['preAuthKey']['key']}", "--hostname=operator"]
        up = [*prefix, tailscale, way, "up", *login, "--accept-dns=false", "--netfilter-mode=off", "--timeout=180s"]
        subprocess.run(up, check=True, timeout=200, capture_output=True)
        yield
    finally:
        daemon.terminate()
        end(daemon, 10)


SOON = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")


def headscale(farm: Farm, path: str, body: object = None) -> str:
    """Ask the control server's API; the key goes in on standard input."""
    argv = ["curl", "-sS", "--cacert", str(farm.file.with_name("headscale.crt")), "-H", "@-"]
    argv += ["-d", json.dumps(body)] if body is not None else []
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{farm.namespace}", "--", *argv, f"https://{WORLD}/api/v1{path}"],
        input=f"Authorization: Bearer {os.environ['T_HEADSCALE_KEY']}\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def start_headscale(folder: Path, namespace: str, program: Path) -> tuple[subprocess.Popen[str], str]:
    """The operator's own control server, and a key for its API."""
    certificate, key = self_signed(WORLD)
    (folder / "headscale.crt").write_bytes(certificate)
    (folder / "headscale.key").write_bytes(key)
    config = {
        "server_url": f"https://{WORLD}",
        "listen_addr": f"{WORLD}:443",
        "metrics_listen_addr": "127.0.0.1:9090",
        "grpc_listen_addr": "127.0.0.1:50443",
        "noise": {"private_key_path": str(folder / "noise.key")},
        "prefixes": {"v4": "100.64.0.0/10", "allocation": "sequential"},
        "derp": {
            "server": {
                "enabled": True,
                "region_id": 999,
                "region_code": "own",
                "region_name": "own",
                "stun_listen_addr": f"{WORLD}:3478",
                "private_key_path": str(folder / "derp.key"),
                "ipv4": WORLD,
                "automatically_add_embedded_derp_region": True,
            },
            "urls": [],
            "paths": [],
            "auto_update_enabled": False,
        },
        "disable_check_updates": True,
        "database": {"type": "sqlite", "sqlite": {"path": str(folder / "headscale.sqlite")}},
        "tls_cert_path": str(folder / "headscale.crt"),
        "tls_key_path": str(folder / "headscale.key"),
        "dns": {"magic_dns": False, "override_local_dns": False, "base_domain": "ts.test"},
        "unix_socket": str(folder / "headscale.sock"),
        "policy": {"mode": "file", "path": ""},
        "log": {"level": "warn"},
    }
    path = folder / "headscale.yaml"
    path.write_text(yaml.safe_dump(config))
    prefix = ["nsenter", f"--net=/run/netns/{namespace}", "--", str(program), "--config", str(path)]
    with (folder / "headscale.log").open("w") as log:
        process = subprocess.Popen([*prefix, "serve"], stdout=log, stderr=log, text=True)
    wait_until("headscale listens", lambda: listens(folder / "headscale.sock"), 120)
    create = [*prefix, "apikeys", "create", "--expiration", "1h"]
    done = subprocess.run(create, capture_output=True, text=True, timeout=60, check=True)
    return process, done.stdout.strip().splitlines()[-1]


def listens(path: Path) -> bool:
    """Somebody accepts connections there. The file alone exists a moment earlier, or is an old one."""
    with socket.socket(socket.AF_UNIX) as way:
        return way.connect_ex(str(path)) == 0


def self_signed(address: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), secret
