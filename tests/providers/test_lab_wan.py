"""What nftables and tc are told, and what their answers mean. netem cannot run on a kernel without it: text only."""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability
from tercet.providers.lab import cuts, wan, wan_emulator, weak
from tercet.providers.lab.layout import layout_of

SIB1, SIB3, FSN = (IPv4Network(f"10.77.{n}.0/24") for n in (1, 2, 3))


def rule(chain: str, source: str, target: str, last: dict[str, object]) -> dict[str, object]:
    def matching(field: str, address: str) -> dict[str, object]:
        network, length = address.split("/")
        right = {"prefix": {"addr": network, "len": int(length)}} if length != "32" else network
        left = {"payload": {"protocol": "ip", "field": field}}
        return {"match": {"op": "==", "left": left, "right": right}}

    expression = [matching("saddr", source), matching("daddr", target), last]
    return {"rule": {"family": "ip", "table": "tercet_wan", "chain": chain, "expr": expression}}


@pytest.mark.parametrize("netem", [True, False])
def test_table(platform: Platform, snapshot: SnapshotAssertion, netem: bool) -> None:
    assert wan.table(layout_of(platform).links, netem=netem) == snapshot


def test_table_without_links_only_removes() -> None:
    assert wan.table((), netem=False) == "add table ip tercet_wan\ndelete table ip tercet_wan\n"


def test_tc_commands(platform: Platform, snapshot: SnapshotAssertion) -> None:
    assert wan.tc_commands(layout_of(platform).links) == snapshot


def test_emulator_arguments_return_as_lanes(platform: Platform) -> None:
    links = layout_of(platform).links
    assert wan.emulator_arguments(links) == ["tercet_wan", "0", "1=500", "2=15000"]
    assert wan.parse_arguments(["python3", "-I", "emulator.py", *wan.emulator_arguments(links), ""]) == wan.lanes(links)


def test_queue_counts_only_with_its_rule() -> None:
    """The emulator adds the rule that hands packets over; a jump to an empty chain delays nothing."""
    jump = rule("links", "10.77.1.0/24", "10.77.2.0/24", {"jump": {"target": "delay_7"}})
    target = {"rule": {"table": "tercet_wan", "chain": "delay_7", "expr": [{"xt": {"type": "target"}}]}}
    assert wan.parse_table([jump]) == {}
    assert wan.parse_table([jump, target]) == {(SIB1, SIB3): 7}


@pytest.mark.parametrize("value", ["1:a", 0x1000A])
def test_netem_class_is_read_in_both_notations(value: object) -> None:
    mangle = {"mangle": {"key": {"meta": {"key": "priority"}}, "value": value}}
    assert wan.parse_table([rule("links", "10.77.1.0/24", "10.77.3.7/32", mangle)]) == {
        (SIB1, IPv4Network("10.77.3.7/32")): 10
    }


def test_delay_of_netem_is_the_target_bridges(platform: Platform) -> None:
    qdiscs = json.dumps(
        [
            {"kind": "htb", "handle": "1:", "dev": "br-fsn-01", "root": True, "options": {}},
            {"kind": "netem", "dev": "br-fsn-01", "parent": "1:2", "options": {"delay": {"delay": 0.015}}},
            {"kind": "netem", "dev": "br-sib-01", "parent": "1:2", "options": {"delay": {"delay": 0.010}}},
        ]
    )
    state = wan.WanState({(SIB1, FSN): 2, (FSN, SIB1): 2, (SIB1, SIB3): 2}, {}, wan.parse_qdiscs(qdiscs))
    assert wan.delays(state, layout_of(platform).networks) == {(SIB1, FSN): 15000, (FSN, SIB1): 10000}


def test_cut_replaces_what_is_left_of_an_earlier_one(snapshot: SnapshotAssertion) -> None:
    assert cuts.cut([(SIB1, FSN)], 1.5) == snapshot


def test_cuts_that_are_in_force() -> None:
    def prefix(network: IPv4Network) -> dict[str, object]:
        return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}

    timed = {"elem": {"val": {"concat": [prefix(SIB1), prefix(FSN)]}, "timeout": 60, "expires": 42}}
    by_hand = {"concat": [prefix(FSN), prefix(SIB1)]}
    ruleset = [{"set": {"table": "tercet_faults", "name": "cut", "elem": [timed, by_hand]}}]
    assert cuts.parse(ruleset) == {(SIB1, FSN): 42.0, (FSN, SIB1): 0.0}


def test_weak_links_are_no_cuts_and_are_read_again() -> None:
    timed = {"elem": {"val": {"concat": []}, "timeout": 60, "expires": 42}}
    sets = [{"set": {"table": "tercet_faults", "name": name, "elem": [timed]}} for name in ("loss_0", "late_2")]
    over = [{"set": {"table": "tercet_faults", "name": "loss_1"}}, {"set": {"table": "other", "name": "loss_1"}}]
    assert cuts.parse([*sets, *over]) == {}
    assert weak.parse([*sets, *over]) == {(Capability.LOSS, 0): 42.0, (Capability.LATENCY, 2): 42.0}


def test_weak_links(snapshot: SnapshotAssertion) -> None:
    assert weak.lose(0, [(SIB1, FSN), (FSN, SIB1)], 15, 40) == snapshot
    assert weak.delay(2, [(SIB1, FSN)], 40) == snapshot
    assert weak.steady(2) == snapshot


# --- the emulator's messages -----------------------------------------------------------------------------


def packet(*attributes: tuple[int, bytes]) -> bytearray:
    """An announcement of the kernel: headers, the packet's number, then the given attributes."""
    number = wan_emulator.attribute(1, struct.pack("!IHB", 99, 0x0800, 2))
    rest = b"".join(wan_emulator.attribute(kind, payload) for kind, payload in attributes)
    return bytearray(wan_emulator.message(wan_emulator.PACKET, 0, 2, 5, number + rest))


def test_number_is_where_the_emulator_looks_for_it() -> None:
    assert wan_emulator.NUMBER.unpack_from(packet(), 24) == (99,)


def test_an_attribute_without_length_ends_the_search() -> None:
    assert wan_emulator.arrival(bytearray(64), 64, now=3.0) == 3.0


def test_an_error_of_the_kernel_is_no_packet() -> None:
    """Releasing packets whose interface is gone is answered with an error; it once made the emulator turn forever."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernel:
        ours.setblocking(False)
        line = object.__new__(wan_emulator.Line)
        line.delay, line.held, line.socket, line.buffer = 0.015, deque(), ours, bytearray(4096)
        error = struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -2) + bytes(16)
        packet = struct.pack("=IHHII", 40, wan_emulator.PACKET, 0, 0, 0) + bytes(8) + struct.pack("!I", 7) + bytes(8)
        for sent in (error, packet, error):
            kernel.send(sent)
        line.take(now=100.0)
        assert list(line.held) == [(100.015, 7)]


def test_arrival_is_the_kernels_time_of_the_packet() -> None:
    stamp = struct.pack("!QQ", 1_700_000_000, 250_000)
    raw = packet((5, b"\0\0\0\1"), (6, b"\0\0\0\2"), (3, b"\0\0\0\1"), (8, b"odd"), (4, stamp), (15, b"\0\0\0\1"))
    assert wan_emulator.arrival(raw, len(raw), now=1.0) == 1_700_000_000.25


def test_packet_without_a_time_arrives_now() -> None:
    raw = packet((5, b"\0\0\0\1"))
    assert wan_emulator.arrival(raw, len(raw), now=12.5) == 12.5


def test_rule_is_the_one_iptables_would_make(snapshot: SnapshotAssertion) -> None:
    """`-j NFQUEUE --queue-num 2 --queue-bypass`, byte for byte as it was accepted by a kernel."""
    assert wan_emulator.hook_rule("tercet_wan", 2).hex(" ", 4) == snapshot


def test_program_stands_alone() -> None:
    """It is run without site-packages, so nothing of the project can be imported."""
    for program in (wan_emulator.__file__, wan_emulator.__file__.replace("wan_emulator", "supervisor")):
        assert "tercet." not in "".join(
            line for line in Path(program).read_text().splitlines() if line.startswith(("import ", "from "))
        )
