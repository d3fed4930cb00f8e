"""The lab provider on real containers: raise, run, break, repair, destroy. Needs root, LXC and a built image."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tercet.converge.events import Event, silent
from tercet.converge.fleet import Unreachable
from tercet.converge.plan import Change
from tercet.converge.target import Target, Verb
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.inventory.default import default_text
from tercet.inventory.load import parse
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability
from tercet.providers.base import ActiveFault
from tercet.providers.lab import disk
from tercet.providers.lab.cgroup import Cgroups, emptied, kill, pids
from tercet.providers.lab.config import images_in_use
from tercet.providers.lab.disk import loops
from tercet.providers.lab.drift import LabKind
from tercet.providers.lab.layout import LABS, layout_of
from tercet.providers.lab.namespace import inside
from tercet.providers.lab.observe import WATCHERS
from tercet.providers.lab.provider import LabProvider
from tercet.providers.lab.rootfs import FIRST_ID, IDS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

A, B, FAR = "db-sib-01", "db-sib-03", "db-fsn-01"


def platform_named(name: str) -> Platform:
    text = re.sub(r"(?m)^platform: \S+", f"platform: {name}", default_text())
    return parse(text.encode(), Path("tercet.yml"))


def one_site(name: str) -> Platform:
    """The smallest lab: the world and one site of three nodes."""
    whole = platform_named(name)
    return replace(whole, sites=whole.sites[:1], settings=whole.settings.model_copy(update={"links": ()}))


def with_delay(platform: Platform, milliseconds: float) -> Platform:
    """The same platform with another latency between the first site and the third."""
    links = tuple(
        link.model_copy(update={"latency_ms": milliseconds}) if link.between == ("sib-01", "fsn-01") else link
        for link in platform.settings.links
    )
    return replace(platform, settings=platform.settings.model_copy(update={"links": links}))


@pytest.fixture(scope="module")
def rootfs() -> Path:
    """The newest finished image; which one does not matter here."""
    images = platform_named("t-lab1").settings.cache / "images"
    trees = [tree for tree in images.glob("*/rootfs") if not tree.parent.name.startswith("base-")]
    if not trees:
        from tests.lab.conftest import absent  # not above: TOOL imports this file alone

        absent("no image is built; `tercet up` or `make up` builds one")
    return max(trees, key=lambda tree: tree.stat().st_mtime)


@pytest.fixture(scope="module")
def standing(rootfs: Path) -> Iterator[LabProvider]:
    """The lab that most tests share; they leave it as they found it."""
    provider = LabProvider(platform_named("t-lab1"), rootfs)

    async def raise_it() -> None:
        await provider.destroy(silent)
        await provider.prepare((await provider.survey()).changes, silent)

    asyncio.run(raise_it())
    yield provider
    asyncio.run(provider.destroy(silent))


@pytest.fixture
async def lab(standing: LabProvider) -> AsyncIterator[LabProvider]:
    """The standing lab; whatever a test left broken is repaired for the next."""
    yield standing
    await standing.faults.heal_all()
    await standing.prepare((await standing.survey()).changes, silent)


@asynccontextmanager
async def temporary(platform: Platform, rootfs: Path) -> AsyncIterator[LabProvider]:
    provider = LabProvider(platform, rootfs)
    await provider.destroy(silent)
    try:
        await provider.prepare((await provider.survey()).changes, silent)
        yield provider
    finally:
        await provider.destroy(silent)


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> None:
    deadline = monotonic() + seconds
    while True:
        result = holds()
        if result if isinstance(result, bool) else await result:
            return
        assert monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


def unique_nap() -> str:
    """An argument for sleep(1) that no other process on the machine has."""
    return f"1{secrets.randbelow(10**9):09}"


def alive(word: str) -> list[int]:
    """The processes on this machine that have `word` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word in (entry / "cmdline").read_text().split("\0")[1:2]:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def out(lab: LabProvider, node: str, *argv: str, timeout: float = 60) -> str:
    done = await lab.run(node, argv, timeout=timeout)
    assert done.status == 0, (argv, done.status, done.stderr)
    return done.stdout.decode()


def in_namespace(*argv: str) -> str:
    return subprocess.run(inside("tercet-t-lab1", argv), check=True, capture_output=True, text=True, timeout=60).stdout


def lines(changes: tuple[Change, ...]) -> list[str]:
    return [f"{change.verb} {change.what}: {change.reason}" for change in changes]


# --- raising ---------------------------------------------------------------------------------------------


async def test_raised_lab_needs_nothing_more(lab: LabProvider) -> None:
    assert (await lab.survey()).changes == ()
    assert (await lab.survey()).running == {node.name for node in platform_named("t-lab1").containers}


async def test_every_node_is_itself(lab: LabProvider) -> None:
    """Name and address are the layout's, and nothing in the image fights them."""
    layout = layout_of(platform_named("t-lab1"))
    for container in layout.containers:
        await lab.run(container.name, ["systemctl", "is-system-running", "--wait"], timeout=60)
        assert await out(lab, container.name, "systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
        assert (await out(lab, container.name, "cat", "/proc/sys/kernel/hostname")).strip() == container.name
        addresses = await out(lab, container.name, "ip", "-o", "-4", "address", "show", "dev", "eth0")
        assert re.findall(r"inet (\S+)", addresses) == [f"{container.address}/24"]
        routes = await out(lab, container.name, "ip", "route", "show", "default")
        assert routes.split()[:3] == ["default", "via", str(container.network.gateway)]


async def test_nodes_have_control_groups_of_their_own(lab: LabProvider) -> None:
    """The same unit on two nodes must not share a group: stopping one would kill the other."""
    inits = [lab._cgroups.init(node) for node in (A, B)]
    groups = {Path(f"/proc/{init}/cgroup").read_text().splitlines()[-1] for init in inits}
    assert groups == {f"0::/tercet/t-lab1/nodes/{node}/init.scope" for node in (A, B)}


ATTACKS = [
    "mount -o remount,rw /proc/sys && echo 0 > /proc/sys/kernel/panic_on_warn",
    "mount -t proc proc /mnt && echo 0 > /mnt/sys/kernel/panic_on_warn",
    "mount -t sysfs sysfs /mnt && echo 0 > /mnt/kernel/mm/ksm/run",
    "mount -t devtmpfs devtmpfs /mnt",
    "mount -t debugfs debugfs /mnt",
    "dmesg --clear",
]


async def test_root_of_a_node_is_nobody_on_the_machine(lab: LabProvider) -> None:
    init = Path(f"/proc/{lab._cgroups.init(A)}")
    assert (init.stat().st_uid, init.stat().st_gid) == (FIRST_ID, FIRST_ID)
    for ids in ("uid_map", "gid_map"):
        assert (init / ids).read_text().split() == ["0", str(FIRST_ID), str(IDS)]
        assert (await out(lab, A, "cat", f"/proc/self/{ids}")) == (init / ids).read_text(), "the tool's programs, too"
    assert await out(lab, A, "id") == "uid=0(root) gid=0(root) groups=0(root)\n"
    await out(lab, A, "sh", "-c", "cp /usr/bin/id /var/tmp/mine && chmod 4755 /var/tmp/mine")
    written = (LABS / "t-lab1" / A / "upper" / "var/tmp/mine").stat()
    assert (written.st_uid, written.st_gid) == (FIRST_ID, FIRST_ID), "it would run as root on this machine"
    place = LABS.stat().st_dev
    device = f"mknod /var/tmp/disk b {os.major(place)} {os.minor(place)}"
    for attack in [*ATTACKS, device]:
        done = await lab.run(A, ["unshare", "--mount", "sh", "-c", attack], timeout=60)
        assert done.status != 0, attack
        assert re.search(rb"(?i)permission denied|not permitted", done.stderr), (attack, done.stderr)


async def test_units_have_the_priority_that_they_ask_for(lab: LabProvider) -> None:
    """Above the machine's programs, too, for the control plane."""
    for nice in ("-10", "-5", "0", "10"):
        argv = ("systemd-run", "--quiet", "--wait", "--pipe", f"--property=Nice={nice}", "nice")
        assert (await out(lab, A, *argv)).strip() == nice


async def test_lab_has_no_way_out(lab: LabProvider) -> None:
    assert "default" not in in_namespace("ip", "route")
    assert (await lab.run(A, ["ping", "-c", "1", "-W", "1", "192.0.2.1"], timeout=60)).status != 0


async def test_events_tell_each_change(rootfs: Path) -> None:
    provider, events = LabProvider(one_site("t-lab2"), rootfs), list[Event]()
    try:
        changes = (await provider.survey()).changes
        await provider.prepare(changes, events.append)
        done = [event.text for event in events if event.state == "done"]
        assert sorted(done) == sorted(f"{change.verb} {change.what}" for change in changes)
        assert {event.node for event in events if event.text == "create container world"} == {"world"}
    finally:
        await provider.destroy(silent)


async def test_prepare_without_image_says_what_is_missing() -> None:
    provider = LabProvider(one_site("t-lab2"), None)
    try:
        changes = (await provider.survey()).changes
        assert "create container world: absent" in lines(changes)
        with pytest.raises(TercetError, match="no image is built"):
            await provider.prepare(changes, silent)
    finally:
        await provider.destroy(silent)


# --- programs on nodes -----------------------------------------------------------------------------------


async def test_run_passes_everything_through(lab: LabProvider) -> None:
    blob = os.urandom(300_000)
    done = await lab.run(A, ["sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "two words"], stdin=blob, timeout=60)
    assert (done.status, done.stdout, done.stderr) == (7, blob, b"two words\n")


async def test_programs_can_open_their_standard_streams(lab: LabProvider) -> None:
    script = "cat < /dev/stdin > /dev/stdout; echo error > /dev/stderr"
    done = await lab.run(A, ["sh", "-c", script], stdin=b"input\n", timeout=60)
    assert (done.status, done.stdout, done.stderr) == (0, b"input\n", b"error\n")
    process = await lab.spawn(A, ["sh", "-c", "echo output > /dev/stdout; echo error > /dev/stderr"])
    assert await asyncio.wait_for(process.communicate(), 60) == (b"output\n", b"error\n")


async def test_run_gives_a_clean_environment(lab: LabProvider) -> None:
    environment = dict(line.split("=", 1) for line in (await out(lab, A, "env")).splitlines())
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }


async def test_run_reports_missing_programs_and_signals_as_a_shell_does(lab: LabProvider) -> None:
    missing = await lab.run(A, ["no-such-program"], timeout=60)
    assert (missing.status, missing.stderr) == (127, b"no-such-program: No such file or directory\n")
    assert (await lab.run(A, ["sh", "-c", "kill -9 $$"], timeout=60)).status == 137


async def test_run_does_not_wait_for_a_daemon(lab: LabProvider) -> None:
    nap = unique_nap()
    done = await lab.run(A, ["sh", "-c", f"setsid sleep {nap} & echo started"], timeout=60)
    assert (done.status, done.stdout) == (0, b"started\n"), "it was waited for until the deadline"
    assert alive(nap), "a daemon outlives the program that started it"
    await lab.run(A, ["pkill", "-f", nap], timeout=60)


async def test_run_ends_the_whole_tree_at_its_time_limit(lab: LabProvider) -> None:
    nap = unique_nap()
    with pytest.raises(Unreachable, match=r"db-sib-01: .* did not end within 0\.5 s"):
        await lab.run(A, ["sh", "-c", f"setsid sleep {nap} & sleep {nap}"], timeout=0.5)
    await eventually(lambda: not alive(nap), 60, "the program and its child in a session of its own are gone")


async def test_run_ends_with_its_caller(lab: LabProvider) -> None:
    nap = unique_nap()
    task = asyncio.create_task(lab.run(A, ["sleep", nap], timeout=60))
    await eventually(lambda: bool(alive(nap)), 60, "the program runs")
    task.cancel()
    await eventually(lambda: not alive(nap), 60, "the program is gone")


TOOL = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_provider import platform_named
from tercet.providers.lab.provider import LabProvider
async def main():
    lab = LabProvider(platform_named("t-lab1"), None)
    {what}
asyncio.run(main())
"""


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize(
    "what",
    [
        'await lab.run("db-sib-01", ["sh", "-c", "setsid sleep {nap} & sleep {nap}"], timeout=60)',
        'p = await lab.spawn("db-sib-01", ["sh", "-c", "sleep {nap}; true"]); await p.wait()',
    ],
)
async def test_programs_on_nodes_die_with_the_tool(lab: LabProvider, what: str, death: signal.Signals) -> None:
    nap = unique_nap()
    script = TOOL.format(here=str(Path(__file__).parent), what=what.format(nap=nap))
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as tool:
        try:
            await eventually(lambda: bool(alive(nap)), 60, "the program runs")
            tool.send_signal(death)
            await eventually(lambda: not alive(nap), 60, "the program is gone")
        finally:
            tool.kill()


@pytest.mark.parametrize("call", ["run", "spawn"])
async def test_a_program_on_a_node_dies_with_its_supervisor(lab: LabProvider, call: str) -> None:
    nap = unique_nap()
    running = asyncio.ensure_future(getattr(lab, call)(A, ["sleep", nap], **({"timeout": 60} if call == "run" else {})))
    await eventually(lambda: bool(alive(nap)), 60, "the program runs")
    os.kill(parent_of(alive(nap)[0]), signal.SIGKILL)
    await eventually(lambda: not alive(nap), 60, "the program is gone")
    await asyncio.gather(running, return_exceptions=True)


async def test_spawn_has_pipes_and_ends_with_its_input(lab: LabProvider) -> None:
    process = await lab.spawn(A, ["sh", "-c", "cat; echo end; exit 5"])
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"hello\n")
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"hello\n"
    process.stdin.close()
    assert await asyncio.wait_for(process.stdout.read(), 60) == b"end\n"
    assert await asyncio.wait_for(process.wait(), 60) == 5


@pytest.mark.parametrize("how", ["close", "terminate", "kill"])
async def test_spawned_program_that_reads_nothing_ends_too(lab: LabProvider, how: str) -> None:
    nap = unique_nap()
    process = await lab.spawn(A, ["sleep", nap])
    await eventually(lambda: bool(alive(nap)), 60, "the program runs")
    assert process.stdin
    {"close": process.stdin.close, "terminate": process.terminate, "kill": process.kill}[how]()
    await eventually(lambda: not alive(nap), 60, "the program is gone")
    await asyncio.wait_for(process.communicate(), 60)


async def test_shell_has_a_terminal(lab: LabProvider) -> None:
    line = await lab.shell(A, ["tty"])
    command = ["script", "-qec", " ".join(f"'{word}'" for word in line), "/dev/null"]
    shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20, check=False)
    assert re.search(r"/dev/pts/\d+", shown.stdout), shown


async def test_unknown_node_is_an_error_with_the_names(lab: LabProvider) -> None:
    with pytest.raises(TercetError, match="there is no node db-sib-02; the nodes are world, consul-nomad-sib-01"):
        await lab.run("db-sib-02", ["true"], timeout=60)


async def test_stopped_node_is_unreachable_at_once(lab: LabProvider) -> None:
    await lab._containers.kill(A)
    with pytest.raises(Unreachable, match="db-sib-01: the container does not run"):
        await lab.run(A, ["true"], timeout=60)


async def test_node_that_dies_under_a_program_is_unreachable(lab: LabProvider) -> None:
    nap = unique_nap()
    task = asyncio.create_task(lab.run(A, ["sleep", nap], timeout=60))
    await eventually(lambda: bool(alive(nap)), 60, "the program runs")
    await lab.faults.kill([A], seconds=60)
    with pytest.raises(Unreachable, match="db-sib-01: the container was stopped while `sleep"):
        await asyncio.wait_for(task, 30)


# --- drift -----------------------------------------------------------------------------------------------


async def lower_limit(lab: LabProvider) -> None:
    WATCHERS.write_text("1023")


async def stop_container(lab: LabProvider) -> None:
    await lab._containers.kill(A)


async def edit_configuration(lab: LabProvider) -> None:
    config = LABS / "t-lab1" / A / "config"
    config.write_text(config.read_text().replace("10.77.1.13/24", "10.77.1.99/24"))


async def add_stranger(lab: LabProvider) -> None:
    shutil.copytree(
        LABS / "t-lab1" / A, LABS / "t-lab1" / "db-old-01", ignore=shutil.ignore_patterns("upper", "work", "disk.img")
    )


async def stop_forwarding(lab: LabProvider) -> None:
    in_namespace("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")


async def readdress_bridge(lab: LabProvider) -> None:
    in_namespace("ip", "address", "add", "10.77.1.2/24", "dev", "br-sib-01")


async def change_bridge(lab: LabProvider) -> None:
    in_namespace("ip", "link", "set", "br-sib-01", "address", "02:00:00:00:00:01")


async def lower_bridge(lab: LabProvider) -> None:
    in_namespace("ip", "link", "set", "br-sib-01", "down")


async def delete_bridge(lab: LabProvider) -> None:
    in_namespace("ip", "link", "delete", "br-sib-01")


async def add_bridge(lab: LabProvider) -> None:
    in_namespace("ip", "link", "add", "br-old", "type", "bridge")


async def pull_cable(lab: LabProvider) -> None:
    in_namespace("ip", "link", "set", "d-sib-01", "down")


async def drop_faults_table(lab: LabProvider) -> None:
    in_namespace("nft", "delete", "table", "ip", "tercet_faults")


async def kill_emulator(lab: LabProvider) -> None:
    kill(lab._cgroups.wan)
    await emptied(lab._cgroups.wan, 60)


async def forget_delays(lab: LabProvider) -> None:
    in_namespace("nft", "delete", "table", "ip", "tercet_wan")


async def cut_link(lab: LabProvider) -> None:
    await lab.faults.cut("sib-01", "sib-03", seconds=600, both=False)


async def flush_address(lab: LabProvider) -> None:
    await lab.run(A, ["ip", "address", "flush", "dev", "eth0"], timeout=60)


async def drop_route(lab: LabProvider) -> None:
    await lab.run(A, ["ip", "route", "delete", "default"], timeout=60)


async def freeze(lab: LabProvider) -> None:
    lab._cgroups.freeze(A, True)


ALL_LINKS = [
    f"update link {a}→{b}: delay is none, wanted {ms} ms"
    for a, b, ms in [
        ("sib-01", "sib-03", "0.5"),
        ("sib-03", "sib-01", "0.5"),
        ("sib-01", "fsn-01", "15"),
        ("fsn-01", "sib-01", "15"),
        ("sib-03", "fsn-01", "15"),
        ("fsn-01", "sib-03", "15"),
    ]
]


@pytest.mark.parametrize(
    ("breakage", "expected"),
    [
        (
            lower_limit,
            ["update limit fs.inotify.max_user_instances: it is 1023, wanted 1024: all containers share it"],
        ),
        (stop_container, ["start container db-sib-01: stopped"]),
        (
            edit_configuration,
            [
                "update container db-sib-01: its configuration differs: "
                "lxc.net.0.ipv4.address is 10.77.1.99/24, wanted 10.77.1.13/24"
            ],
        ),
        (add_stranger, ["remove container db-old-01: the inventory has no such node; with its DATABASE"]),
        (stop_forwarding, ["update namespace tercet-t-lab1: it forwards no packets"]),
        (readdress_bridge, ["update network sib-01: its router has 10.77.1.1/24, 10.77.1.2/24, wanted 10.77.1.1/24"]),
        (
            change_bridge,
            [
                "update network sib-01: its router's hardware address is 02:00:00:00:00:01, "
                f"wanted {layout_of(platform_named('t-lab1')).networks[0].mac}"
            ],
        ),
        (lower_bridge, ["update network sib-01: its bridge br-sib-01 is down"]),
        (
            delete_bridge,
            [
                "create network sib-01: absent; 10.77.1.0/24",
                "update cable consul-nomad-sib-01: it is in no bridge, wanted up in br-sib-01",
                "update cable apps-sib-01: it is in no bridge, wanted up in br-sib-01",
                "update cable db-sib-01: it is in no bridge, wanted up in br-sib-01",
            ],
        ),
        (add_bridge, ["remove bridge br-old: the inventory has no such network"]),
        (pull_cable, ["update cable db-sib-01: it is down, wanted up in br-sib-01"]),
        (drop_faults_table, ["update namespace tercet-t-lab1: its table of cut links is absent or incomplete"]),
        (kill_emulator, ALL_LINKS),
        (forget_delays, ALL_LINKS),
        (cut_link, ["join cut sib-01→sib-03: a drill or a person cut it, for a while"]),
        (
            flush_address,
            [
                "update address db-sib-01: it lacks its address 10.77.1.13; "
                "its default gateway is absent, wanted 10.77.1.1"
            ],
        ),
        (drop_route, ["update address db-sib-01: its default gateway is absent, wanted 10.77.1.1"]),
        (freeze, ["thaw container db-sib-01: frozen"]),
    ],
)
async def test_drift_is_named_and_repaired(
    lab: LabProvider, breakage: Callable[[LabProvider], Awaitable[None]], expected: list[str]
) -> None:
    if breakage is kill_emulator and "netem" in in_namespace("tc", "qdisc"):
        pytest.skip("this kernel has netem, so there is no emulator to kill")
    await breakage(lab)
    changes = (await lab.survey()).changes
    assert [re.sub(r"for \d+ s more", "for a while", line) for line in lines(changes)] == expected
    await lab.prepare(changes, silent)
    assert (await lab.survey()).changes == ()
    await out(lab, A, "ping", "-c", "1", "-W", "2", "10.77.3.13")
    await out(lab, "consul-nomad-sib-01", "ping", "-c", "1", "-W", "2", "10.77.1.13")


async def test_data_survives_a_changed_configuration(lab: LabProvider) -> None:
    await out(lab, A, "sh", "-c", "echo precious > /var/tmp/kept; sync")
    await edit_configuration(lab)
    await lab.prepare((await lab.survey()).changes, silent)
    assert await out(lab, A, "cat", "/var/tmp/kept") == "precious\n"


async def test_everything_returns_after_a_reboot(rootfs: Path) -> None:
    """Processes, namespace and groups are gone as after a power cut; folders are all that is left."""
    async with temporary(one_site("t-lab2"), rootfs) as lab:
        await out(lab, A, "sh", "-c", "echo precious > /var/tmp/kept; sync")
        kill(lab._cgroups.lab)
        await emptied(lab._cgroups.lab, 60)
        await lab._network.remove_namespace()
        stale = Path("/run/netns/tercet-t-lab2")
        stale.touch()  # what a reboot may leave of a namespace: its name
        changes = (await lab.survey()).changes
        assert lines(changes) == [
            "create namespace tercet-t-lab2: absent",
            "create network sib-01: absent; 10.77.1.0/24",
            "create network world: absent; 10.77.250.0/24",
            *(
                f"start container {name}: stopped"
                for name in ("world", "consul-nomad-sib-01", "apps-sib-01", "db-sib-01")
            ),
        ]
        await lab.prepare(changes, silent)
        assert (await lab.survey()).changes == ()
        assert await out(lab, A, "cat", "/var/tmp/kept") == "precious\n"


async def test_namespace_removed_under_running_nodes(rootfs: Path) -> None:
    async with temporary(one_site("t-lab2"), rootfs) as lab:
        await lab._network.remove_namespace()
        changes = (await lab.survey()).changes
        assert lines(changes)[-1] == "restart container db-sib-01: it runs, but has no cable in the lab's network"
        await lab.prepare(changes, silent)
        assert (await lab.survey()).changes == ()
        await out(lab, A, "ping", "-c", "1", "-W", "2", "10.77.250.20")


async def test_containers_keep_their_image(lab: LabProvider, rootfs: Path, tmp_path: Path) -> None:
    assert rootfs in images_in_use()
    assert (await LabProvider(platform_named("t-lab1"), tmp_path).survey()).changes == ()


async def test_one_that_fails_to_start_does_not_stop_the_others(rootfs: Path) -> None:
    provider = LabProvider(one_site("t-lab2"), rootfs)
    try:
        (LABS / "t-lab2" / A / "upper" / "etc").mkdir(parents=True)
        (LABS / "t-lab2" / A / "upper" / "sbin").write_text("no program is found below a file")
        with pytest.raises(TercetError, match="start db-sib-01"):
            await provider.prepare((await provider.survey()).changes, silent)
        assert (await provider.survey()).running == {"world", "consul-nomad-sib-01", "apps-sib-01"}
    finally:
        await provider.destroy(silent)


# --- the WAN ---------------------------------------------------------------------------------------------


async def round_trips(lab: LabProvider, node: str, address: str, count: int = 20) -> list[float]:
    """Milliseconds."""
    text = await out(lab, node, "ping", "-c", str(count), "-i", "0.05", address, timeout=60)
    return [float(found) for found in re.findall(r"time=([\d.]+)", text)]


@pytest.mark.parametrize(
    ("node", "address", "expected"),
    [(A, "10.77.3.13", 30.0), (B, "10.77.3.12", 30.0), (FAR, "10.77.1.13", 30.0), (A, "10.77.2.13", 1.0)],
)
async def test_latency_between_sites(lab: LabProvider, node: str, address: str, expected: float) -> None:
    own = next(c.address for c in layout_of(platform_named("t-lab1")).containers if c.name == node)
    busy = statistics.median(await round_trips(lab, node, str(own)))  # what the machine itself takes, just now
    times = await round_trips(lab, node, address)
    assert len(times) == 20
    assert min(times) > expected - 1.2
    assert statistics.median(times) < expected + 3 + 10 * busy


@pytest.mark.parametrize("address", ["10.77.1.11", "10.77.250.20"])
async def test_no_latency_within_a_site_and_to_the_world(lab: LabProvider, address: str) -> None:
    assert min(await round_trips(lab, A, address)) < 0.8


async def test_changed_latency_is_applied_without_touching_containers(lab: LabProvider) -> None:
    inits = {name: lab._cgroups.init(name) for name in (await lab.survey()).running}
    changed = LabProvider(with_delay(platform_named("t-lab1"), 10), None)
    changes = (await changed.survey()).changes
    assert lines(changes) == [
        "update link sib-01→fsn-01: delay is 15 ms, wanted 10 ms",
        "update link fsn-01→sib-01: delay is 15 ms, wanted 10 ms",
    ]
    await changed.prepare(changes, silent)
    assert (await changed.survey()).changes == ()
    assert 18.8 < min(await round_trips(lab, A, "10.77.3.13")) < 23
    assert 28.8 < min(await round_trips(lab, B, "10.77.3.13")) < 33
    assert {name: lab._cgroups.init(name) for name in (await lab.survey()).running} == inits


# --- faults ----------------------------------------------------------------------------------------------


async def reaches(lab: LabProvider, node: str, address: str) -> bool:
    return (await lab.run(node, ["ping", "-c", "1", "-W", "2", address], timeout=20)).status == 0


async def test_cut_both_ways_and_healed(lab: LabProvider) -> None:
    await lab.faults.cut("sib-01", "sib-03", seconds=600)
    assert not await reaches(lab, A, "10.77.2.13")
    assert not await reaches(lab, B, "10.77.1.13")
    assert await reaches(lab, A, "10.77.3.13")
    active = await lab.faults.faults_active()
    assert {(fault.kind, fault.target) for fault in active} == {
        (Capability.CUT, "sib-01→sib-03"),
        (Capability.CUT, "sib-03→sib-01"),
    }
    assert all(500 < fault.seconds <= 600 for fault in active)
    await lab.faults.join("sib-01", "sib-03")
    assert await lab.faults.faults_active() == ()
    assert await reaches(lab, A, "10.77.2.13")


LISTEN = "import socket; s = socket.socket(2, 2); s.bind(('', 7777)); print('ready', flush=True); print(s.recv(9))"
SAY = "import socket, sys; socket.socket(2, 2).sendto(b'heard', (sys.argv[1], 7777))"


async def heard(lab: LabProvider, speaker: str, listener: str, address: str, within: float) -> bool:
    """One datagram from speaker reaches listener, `within` seconds after it was sent."""
    process = await lab.spawn(listener, ["python3", "-c", LISTEN])
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        await out(lab, speaker, "python3", "-c", SAY, address)
        return await asyncio.wait_for(process.stdout.readline(), within) == b"b'heard'\n"
    except TimeoutError:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):  # it heard, and is done
            process.kill()
        await process.communicate()


async def test_cut_one_way_only(lab: LabProvider) -> None:
    await lab.faults.cut("sib-01", "sib-03", seconds=60, both=False)
    assert not await heard(lab, A, B, "10.77.2.13", within=2)
    assert await heard(lab, B, A, "10.77.1.13", within=60)


async def test_site_cut_off_from_everything_but_itself(lab: LabProvider) -> None:
    await lab.faults.cut("sib-01", None, seconds=60)
    for address in ("10.77.2.13", "10.77.3.13", "10.77.250.20"):
        assert not await reaches(lab, A, address)
    assert await reaches(lab, A, "10.77.1.11")
    assert await reaches(lab, B, "10.77.250.20")


async def test_cut_from_the_world_alone(lab: LabProvider) -> None:
    await lab.faults.cut("sib-01", "world", seconds=60)
    assert not await reaches(lab, A, "10.77.250.20")
    assert await reaches(lab, A, "10.77.2.13")


async def test_cut_ends_by_itself(lab: LabProvider) -> None:
    """By the kernel alone: nothing of the tool takes part."""
    await lab.faults.cut("sib-01", "sib-03", seconds=60)
    await lab.faults.cut("sib-01", "sib-03", seconds=15)
    assert not await reaches(lab, A, "10.77.2.13")
    await eventually(lambda: reaches(lab, A, "10.77.2.13"), 60, "the cut is over")
    assert await lab.faults.faults_active() == ()


async def answered(lab: LabProvider, node: str, address: str, number: int = 100) -> tuple[int, float]:
    """How many of so many pings were answered, and the median of their round trips in milliseconds."""
    argv = ("ping", "-c", str(number), "-i", "0.01", "-W", "2", address)
    done = await lab.run(node, argv, timeout=60)
    times = sorted(float(found) for found in re.findall(r"time=([0-9.]+) ms", done.stdout.decode()))
    return len(times), times[len(times) // 2] if times else 0.0


async def test_packets_are_lost_both_ways_and_on_that_sites_links_alone(lab: LabProvider) -> None:
    await lab.faults.lose("sib-01", percent=30, seconds=60)
    lossy, _ = await answered(lab, A, "10.77.2.13")
    assert 25 <= lossy <= 75, "half of them come back: 0.7 of 0.7"
    assert (await answered(lab, B, "10.77.3.13"))[0] == 100
    assert (await answered(lab, A, "10.77.1.11"))[0] == 100
    assert {(fault.kind, fault.target) for fault in await lab.faults.faults_active()} == {(Capability.LOSS, "sib-01")}
    assert [change.what for change in (await lab.survey()).changes] == ["loss sib-01"]
    await lab.faults.steady("sib-01")
    assert (await answered(lab, A, "10.77.2.13"))[0] == 100
    assert (await lab.survey()).changes == ()


async def test_packets_are_delayed_to_what_was_asked_for(lab: LabProvider) -> None:
    await lab.faults.delay("sib-01", by=0.1, seconds=60)
    number, took = await answered(lab, A, "10.77.2.13", 20)
    assert number == 20 and 200 <= took < 400
    assert (await answered(lab, A, "10.77.1.11", 20))[1] < 100
    assert {(fault.kind, fault.target) for fault in await lab.faults.faults_active()} == {
        (Capability.LATENCY, "sib-01")
    }
    await lab.faults.delay("sib-01", by=0.05, seconds=60)  # another one in its place
    assert 100 <= (await answered(lab, A, "10.77.2.13", 20))[1] < 200
    await lab.faults.steady("sib-01")
    assert (await answered(lab, A, "10.77.2.13", 20))[1] < 100
    assert await lab.faults.faults_active() == ()


async def test_weak_links_end_by_themselves(lab: LabProvider) -> None:
    """By the kernel, and the emulator's own limit: nothing of the tool takes part."""
    await lab.faults.lose("sib-01", percent=30, seconds=5)
    await lab.faults.delay("sib-03", by=0.1, seconds=5)
    emulator = lab._cgroups.healer("latency-sib-03")
    assert len(pids(emulator)) == 1

    async def quiet() -> bool:
        return await lab.faults.faults_active() == () and not pids(emulator)

    await eventually(quiet, 60, "both are over")
    number, took = await answered(lab, A, "10.77.2.13", 20)
    assert number == 20 and took < 100
    assert (await lab.survey()).changes == ()


HOLD = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7778), 5)
print("connected", flush=True)
sys.stdin.readline()  # the power is cut by now
s.settimeout(2.5)
try:
    print("closed" if s.recv(1) == b"" else "data", flush=True)
except TimeoutError:
    print("silence", flush=True)
except OSError as error:
    print(error, flush=True)
"""
SERVE = """
import socket, time
server = socket.create_server(("", 7778))
print("ready", flush=True)
connection = server.accept()
time.sleep(99)
"""


async def test_power_cut_is_silent(lab: LabProvider) -> None:
    """Its peers see neither FIN nor RST, as when a real server loses power."""
    server = await lab.spawn(A, ["python3", "-c", SERVE])
    assert server.stdout
    assert await asyncio.wait_for(server.stdout.readline(), 60) == b"ready\n"
    client = await lab.spawn(B, ["python3", "-c", HOLD, "10.77.1.13"])
    assert client.stdout
    assert await asyncio.wait_for(client.stdout.readline(), 60) == b"connected\n"
    site = [node.name for node in platform_named("t-lab1").nodes if node.site == "sib-01"]
    await lab.faults.kill(site, seconds=60)
    survey = await lab.survey()
    assert survey.away.keys() == set(site) and not survey.running & set(site)
    assert survey.changes == (), "a dead server's containers cannot be started"
    assert client.stdin
    client.stdin.write(b"\n")
    assert await asyncio.wait_for(client.stdout.readline(), 60) == b"silence\n"
    assert {(fault.kind, fault.target) for fault in await lab.faults.faults_active()} == {
        (Capability.KILL, node) for node in site
    }
    await lab.faults.start(site)
    assert (await lab.survey()).changes == ()
    assert await lab.faults.faults_active() == ()
    await asyncio.gather(server.communicate(), client.communicate())


async def test_killed_node_returns_by_itself(lab: LabProvider) -> None:
    """The healer is no child of the tool and needs nothing from it."""
    await lab.faults.kill([A], seconds=15)
    assert A not in (await lab.survey()).running
    await eventually(lambda: lab._cgroups.init(A) is not None, 120, "it is started")
    await lab._containers.booted(A)
    assert (await lab.survey()).changes == ()
    assert await lab.faults.faults_active() == ()


async def test_two_starts_at_once_are_one(lab: LabProvider) -> None:
    """A healer may come while the tool starts the node."""
    await lab._containers.kill(A)
    start = lab._containers.start_command(lab._layout.container(A))
    await asyncio.gather(*(command(start, doing="start", timeout=60) for _ in range(3)))
    await lab._containers.booted(A)
    await out(lab, A, "touch", "/etc/debian_version")  # of the image: the overlay copies it by its work directory
    assert (await lab.survey()).changes == ()


async def test_healer_leaves_a_node_alone_that_runs_again(lab: LabProvider) -> None:
    await lab.faults.kill([A], seconds=12)
    await lab._containers.start(lab._layout.container(A))  # not by `faults.start`, which would dismiss the healer
    await lab._network.plug(lab._layout.container(A).port, lab._layout.container(A).network)
    init = lab._cgroups.init(A)
    await eventually(lambda: lab._cgroups.names("healers") == () or not lab.faults._healer(A)[0], 90, "the healer came")
    await asyncio.sleep(0.3)  # what it would break, it would break at once
    assert lab._cgroups.init(A) == init
    assert (await lab.survey()).changes == ()


async def test_frozen_node_is_unreachable_within_the_time_limit(lab: LabProvider) -> None:
    await lab.faults.freeze([A], seconds=60)
    began = monotonic()
    with pytest.raises(Unreachable, match="the container is frozen"):
        await lab.run(A, ["true"], timeout=0.5)
    assert monotonic() - began < 30, "it waits until the node thaws, after a minute"
    (fault,) = await lab.faults.faults_active()
    assert (fault.kind, fault.target) == (Capability.FREEZE, A)
    survey = await lab.survey()
    assert list(survey.away) == [A] and A not in survey.running and survey.changes == ()
    await lab.faults.thaw([A])
    await out(lab, A, "true")
    assert await lab.faults.faults_active() == ()


async def test_frozen_node_thaws_by_itself(lab: LabProvider) -> None:
    await lab.faults.freeze([A], seconds=10)
    assert lab._cgroups.frozen(A)
    await eventually(lambda: not lab._cgroups.frozen(A), 60, "it is thawed")
    assert await lab.faults.faults_active() == ()


async def test_heal_all(lab: LabProvider) -> None:
    await lab.faults.cut("fsn-01", None, seconds=60)
    await lab.faults.freeze([B], seconds=60)
    await lab.faults.kill([A], seconds=60)
    await lab.faults.lose("sib-01", percent=10, seconds=60)
    await lab.faults.delay("sib-01", by=0.1, seconds=60)
    assert len(await lab.faults.faults_active()) == 6 + 1 + 1 + 2
    await lab.faults.heal_all()
    assert await lab.faults.faults_active() == ()
    assert (await lab.survey()).changes == ()


async def test_unknown_names_are_refused_before_anything_happens(lab: LabProvider) -> None:
    with pytest.raises(TercetError, match="there is no node db-sib-02"):
        await lab.faults.kill([A, "db-sib-02"], seconds=60)
    with pytest.raises(TercetError, match="there is no site sib-02"):
        await lab.faults.cut("sib-01", "sib-02", seconds=60)
    assert await lab.faults.faults_active() == tuple[ActiveFault, ...]()
    assert A in (await lab.survey()).running


# --- disks -----------------------------------------------------------------------------------------------

POSTGRESQL = "/var/lib/postgresql"
KEPT = f"{POSTGRESQL}/kept"


def loop_devices(name: str) -> list[str]:
    """The loop devices on this machine that lie on files of the lab."""
    listed = subprocess.run(["losetup", "--all"], check=True, capture_output=True, text=True, timeout=60).stdout
    return [line for line in listed.splitlines() if f"/{name}/" in line]


@pytest.fixture
def with_loops() -> None:
    if shutil.which("mkfs.ext4") is None or not asyncio.run(loops()):
        pytest.skip("this machine has no mkfs.ext4 or no loop devices")


@pytest.mark.usefixtures("with_loops")
async def test_database_node_has_a_disk_of_its_own(lab: LabProvider) -> None:
    assert (await out(lab, A, "stat", "-f", "-c", "%T", POSTGRESQL)).strip() == "ext2/ext3"
    assert (await out(lab, A, "stat", "-c", "%U:%G %a", POSTGRESQL)).strip() == "postgres:postgres 755"
    size = (await out(lab, A, "df", "--output=size", "-BG", POSTGRESQL)).split()[-1]
    assert size == "8G"
    assert (await out(lab, "apps-sib-01", "stat", "-f", "-c", "%T", "/var/lib")).strip() == "overlayfs"
    devices = {line.split(":")[0] for line in loop_devices("t-lab1")}
    assert len(devices) == 3
    assert not devices & {line.split()[0] for line in machine()[0]}, "no mount is seen on the machine"
    await out(lab, A, "systemctl", "daemon-reload")
    await out(lab, A, "mountpoint", POSTGRESQL)


async def writes(lab: LabProvider, node: str) -> float:
    """Seconds that 40 small writes take, each of which waits for the disk. A service of the node's makes them: what the
    tool runs on a node is no child of the node's."""
    file = f"{POSTGRESQL}/slow"
    await out(lab, node, "dd", "if=/dev/zero", f"of={file}", "bs=4k", "count=40", "status=none")
    began = monotonic()
    words = ("if=/dev/zero", f"of={file}", "bs=4k", "count=40", "oflag=dsync", "conv=notrunc", "status=none")
    await out(lab, node, "systemd-run", "--quiet", "--wait", "dd", *words)
    return monotonic() - began


@pytest.mark.usefixtures("with_loops")
async def test_slow_disk_is_its_owners_alone_and_ends_by_itself(lab: LabProvider) -> None:
    if Capability.SLOW_DISK in lab.faults.lacking:
        pytest.skip("this machine's kernel slows no disk for a control group")
    await lab.faults.slow_disk(A, iops=10, seconds=60)
    assert {(fault.kind, fault.target) for fault in await lab.faults.faults_active()} == {(Capability.SLOW_DISK, A)}
    assert [change.what for change in (await lab.survey()).changes] == [f"slow-disk {A}"]
    assert await writes(lab, A) > 3
    assert await writes(lab, B) < 3
    await lab.faults.free_disk(A)
    assert await writes(lab, A) < 3
    assert (await lab.survey()).changes == ()
    await lab.faults.slow_disk(A, iops=10, seconds=3)

    async def quiet() -> bool:
        return await lab.faults.faults_active() == ()

    await eventually(quiet, 60, "the disk is free again")
    assert await writes(lab, A) < 3


@pytest.mark.usefixtures("with_loops")
async def test_full_disk_is_its_owners_alone(lab: LabProvider) -> None:
    """What the drill disk-full does, and that it leaves the machine's disk alone."""
    free = shutil.disk_usage(LABS).free
    fill = f"fallocate -l $(df --output=avail -B1 {POSTGRESQL} | tail -1) {KEPT}"
    more = f"dd if=/dev/zero of={KEPT}.rest bs=64k status=none"
    done = await lab.run(A, ["runuser", "-u", "postgres", "--", "sh", "-c", f"{fill} || true; {more}"], timeout=60)
    assert b"No space left on device" in done.stderr
    assert free - shutil.disk_usage(LABS).free < 4 << 30
    await out(lab, B, "sh", "-c", f"echo room > {KEPT} && rm {KEPT}")
    await out(lab, A, "rm", "-f", KEPT, f"{KEPT}.rest")


async def test_database_survives_stop_and_start(lab: LabProvider) -> None:
    await out(lab, A, "sh", "-c", f"echo precious > {KEPT}")
    await lab._containers.stop(A)
    await lab.prepare((await lab.survey()).changes, silent)
    assert await out(lab, A, "cat", KEPT) == "precious\n"


async def test_database_survives_a_kill(lab: LabProvider) -> None:
    """As on other nodes, what was not synced survives too; the healer mounts the disk again."""
    await out(lab, A, "sh", "-c", f"echo precious > {KEPT}")
    before = loop_devices("t-lab1")
    await lab.faults.kill([A], seconds=2)
    await eventually(lambda: lab._cgroups.init(A) is not None, 120, "it is started")
    await lab._containers.booted(A)
    assert await out(lab, A, "cat", KEPT) == "precious\n"
    assert len(loop_devices("t-lab1")) == len(before)
    assert (await lab.survey()).changes == ()


@pytest.mark.usefixtures("with_loops")
async def test_killed_node_holds_no_loop_device(lab: LabProvider) -> None:
    before = loop_devices("t-lab1")
    await lab.faults.kill([A], seconds=60)
    await eventually(lambda: len(loop_devices("t-lab1")) == len(before) - 1, 60, "its loop device is free again")


@pytest.mark.usefixtures("with_loops")
async def test_lost_disk_is_named_and_made_again(lab: LabProvider) -> None:
    await lab._containers.kill(A)
    (LABS / "t-lab1" / A / "disk.img").unlink()
    changes = (await lab.survey()).changes
    assert lines(changes) == [
        "update container db-sib-01: its disk is gone, and the data with it; it gets an empty one"
    ]
    await lab.prepare(changes, silent)
    assert (await lab.survey()).changes == ()
    assert await out(lab, A, "ls", POSTGRESQL) == "lost+found\n"


async def test_machine_without_loop_devices_has_the_shared_disk(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a container that was made without a disk never gets one: it would hide the data."""

    async def none() -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(disk, "loops", none)
        async with temporary(one_site("t-lab2"), rootfs) as lab:
            assert (await out(lab, A, "stat", "-f", "-c", "%T", POSTGRESQL)).strip() == "overlayfs"
            await out(lab, A, "sh", "-c", f"echo precious > {KEPT}; sync")
            patched.undo()
            assert (await lab.survey()).changes == ()
            config = LABS / "t-lab2" / A / "config"
            config.write_text(config.read_text().replace("10.77.1.13/24", "10.77.1.99/24"))
            await lab.prepare((await lab.survey()).changes, silent)
            assert await out(lab, A, "cat", KEPT) == "precious\n"


# --- two labs, two operators, no lab ---------------------------------------------------------------------


async def test_two_labs_do_not_know_of_each_other(lab: LabProvider, rootfs: Path) -> None:
    async with temporary(one_site("t-lab2"), rootfs) as other:
        assert (await lab.survey()).changes == ()
        assert (await other.survey()).changes == ()
        await other.faults.kill([A], seconds=60)
        assert A in (await lab.survey()).running
        assert not await reaches(other, "apps-sib-01", "10.77.1.13")
        assert await reaches(lab, "apps-sib-01", "10.77.1.13")
        nap = unique_nap()
        held = asyncio.create_task(lab.run(A, ["sleep", nap], timeout=60))
        await other.destroy(silent)
        assert (await lab.survey()).changes == ()
        assert alive(nap)
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)


async def test_second_operator_is_told_who_holds_the_lock(lab: LabProvider) -> None:
    async with lab.lock("root@host: up"):
        with pytest.raises(TercetError, match=r"being changed by root@host: up \(process \d+\) since 20"):
            async with lab.lock("somebody else"):
                pytest.fail("two hold the lock")
    async with lab.lock("somebody else"):
        pass
    assert not list(Path("/run/lock").glob("tercet-t-lab1*"))


async def test_lock_of_a_dead_operator_is_free(lab: LabProvider) -> None:
    what = 'async with lab.lock("victim"): print("held", flush=True); await asyncio.sleep(60)'
    script = TOOL.format(here=str(Path(__file__).parent), what=what)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as tool:
        assert tool.stdout
        assert await asyncio.to_thread(tool.stdout.readline) == b"held\n"
        with pytest.raises(TercetError, match="victim"):
            async with lab.lock("second"):
                pytest.fail("two hold the lock")
        tool.kill()
    async with lab.lock("second"):
        pass


@pytest.mark.parametrize("call", ["run", "spawn"])
async def test_lock_of_a_dead_operator_is_held_until_its_programs_are_gone(lab: LabProvider, call: str) -> None:
    """Who ends the program is stopped here, as where the machine is starved: the program outlives its caller."""
    nap = unique_nap()
    runs = {
        "run": f'await lab.run("{A}", ["sleep", "{nap}"], timeout=600)',
        "spawn": f'await (await lab.spawn("{A}", ["sleep", "{nap}"])).wait()',
    }
    what = f'async with lab.lock("victim"): {runs[call]}'
    script = TOOL.format(here=str(Path(__file__).parent), what=what)
    with subprocess.Popen([sys.executable, "-c", script]) as tool:
        supervisors: list[int] = []
        try:
            await eventually(lambda: bool(alive(nap)), 60, "the program runs")
            (program,) = alive(nap)
            supervisors = [parent_of(program)]
            os.kill(supervisors[0], signal.SIGSTOP)
            tool.kill()
            tool.wait()
            with pytest.raises(TercetError, match="victim"):
                async with lab.lock("second"):
                    pytest.fail("the lock is free, and the program runs")
            assert alive(nap) == [program]
        finally:
            tool.kill()
            for supervisor in supervisors:
                os.kill(supervisor, signal.SIGCONT)

    async def free() -> bool:
        try:
            async with lab.lock("second"):
                assert not alive(nap)
                return True
        except TercetError:
            return False

    await eventually(free, 60, "the lock is free once the program has ended")


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


async def test_lock_is_free_at_once_after_work_that_was_broken_off(lab: LabProvider) -> None:
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), lab.lock("first"):
                await asyncio.gather(*(lab.run(A, ["sleep", "60"], timeout=600) for _ in range(5)))
        async with lab.lock("second"):
            pass


def traces(name: str) -> dict[str, list[str]]:
    """Everything on this machine that carries the lab's name."""
    processes = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"/tercet/{name}/" in (entry / "cgroup").read_text():
                processes.append((entry / "cmdline").read_text())  # empty: dead, and not yet reaped by PID 1
        except OSError:
            continue
    return {
        "processes": [process for process in processes if process],
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line],
        "namespaces": [path.name for path in Path("/run/netns").glob(f"*{name}*")],
        "folders": [str(path) for path in LABS.glob(name)] if LABS.exists() else [],
        "locks": [str(path) for path in Path("/run").glob(f"lxc/lock/**/{name}")],
        "groups": [str(path) for path in Cgroups(name).base.glob(name)],
        "loop devices": loop_devices(name),
    }


def machine() -> tuple[set[str], set[str]]:
    """The machine's own mounts and network devices."""
    return set(Path("/proc/self/mounts").read_text().splitlines()), {p.name for p in Path("/sys/class/net").iterdir()}


async def test_destroy_leaves_nothing(rootfs: Path) -> None:
    before = machine()
    provider = LabProvider(platform_named("t-lab2"), rootfs)
    await provider.destroy(silent)
    await provider.prepare((await provider.survey()).changes, silent)
    assert all(traces("t-lab2")[kind] for kind in ("processes", "namespaces", "folders", "groups"))
    await provider.faults.kill([A], seconds=60)
    await provider.faults.freeze([B], seconds=60)
    await provider.faults.cut("fsn-01", None, seconds=60)
    await provider.destroy(silent)
    assert not any(traces("t-lab2").values()), traces("t-lab2")
    assert machine() == before
    await provider.destroy(silent)  # nothing is there any more
    namespace = Target(LabKind.NAMESPACE, "tercet-t-lab2")
    assert Change(Verb.CREATE, namespace, "absent") in (await provider.survey()).changes


@pytest.mark.parametrize("kept", ["folders", "namespace"])
async def test_destroy_finishes_what_broke_off(rootfs: Path, kept: str) -> None:
    provider = LabProvider(one_site("t-lab2"), rootfs)
    await provider.prepare((await provider.survey()).changes, silent)
    kill(provider._cgroups.lab)
    if kept == "folders":
        await provider._network.remove_namespace()
    else:
        shutil.rmtree(LABS / "t-lab2")
    await provider.destroy(silent)
    assert not any(traces("t-lab2").values())


async def test_destroy_removes_a_half_made_lab(rootfs: Path) -> None:
    provider = LabProvider(one_site("t-lab2"), rootfs)
    changes = (await provider.survey()).changes
    task = asyncio.create_task(provider.prepare(changes, silent))
    await eventually(lambda: bool(provider._cgroups.names("nodes")), 120, "the first container starts")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await provider.destroy(silent)
    assert not any(traces("t-lab2").values())


async def test_broken_off_prepare_is_finished_by_the_next(rootfs: Path) -> None:
    provider = LabProvider(one_site("t-lab2"), rootfs)
    try:
        task = asyncio.create_task(provider.prepare((await provider.survey()).changes, silent))
        await eventually(lambda: bool(provider._cgroups.names("nodes")), 120, "the first container starts")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await provider.prepare((await provider.survey()).changes, silent)
        assert (await provider.survey()).changes == ()
    finally:
        await provider.destroy(silent)
