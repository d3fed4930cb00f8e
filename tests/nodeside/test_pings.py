"""The failure detector by ICMP echo. What it finds is tested with its users, routes and sessions."""

from __future__ import annotations

from tercet.nodeside import pings


def test_an_echo_request_has_a_right_checksum() -> None:
    packet = pings.echo_request(0xABCD)
    total = sum(int.from_bytes(packet[place : place + 2], "big") for place in range(0, 8, 2))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
