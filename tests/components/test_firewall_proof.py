"""`verify` proves that a user of a node reaches no API; tests/lab/test_intruder.py tries more doors."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from tercet.components.firewall.proof import NOBODY, closed, doors, knock
from tercet.converge.component import Passing, Readings, State, Waiting
from tercet.converge.requests import Answer
from tercet.inventory.platform import Platform


def judged(answer: Answer) -> State:
    condition = closed({"apps-sib-01": ["127.0.0.1:9500", "db-sib-01:8008"]})
    return condition.check(Readings({"apps-sib-01": {"proof.users": answer}}))


def test_every_port_that_not_everybody_may_use_is_tried_here_and_elsewhere(platform: Platform) -> None:
    tried = doors(platform, "apps-sib-01", NOBODY)
    here = {
        int(port) for name, _, port in (door.rpartition(":") for door in tried) if name in ("127.0.0.1", "apps-sib-01")
    }
    assert {4646, 8008, 8300, 8500, 9300, 9301, 9500} <= here and not {5432, 8600, 9600, 41641} & here
    assert {"127.0.0.1:9500", "apps-sib-01:4646", "consul-nomad-fsn-01:9300", "db-fsn-01:5432"} <= {*tried}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Answer(0, "refused db-sib-01:8008\nrefused 127.0.0.1:9500\n"), ""),
        (Answer(0, "refused db-sib-01:8008\nopen 127.0.0.1:9500\n"), "connects, on apps-sib-01: 127.0.0.1:9500"),
        (Answer(0, "refused 127.0.0.1:9500\n"), "not refused at db-sib-01:8008 (no answer)"),
        (Answer(0, "refused 127.0.0.1:9500\nrefused db-sib"), "not refused at db-sib-01:8008"),
        (Answer(-1, "", "silent"), "not refused at 127.0.0.1:9500, db-sib-01:8008 (silent)"),
    ],
)
def test_what_is_open_or_does_not_refuse_is_named(answer: Answer, found: str) -> None:
    state = judged(answer)
    assert isinstance(state, Passing) if not found else isinstance(state, Waiting) and found in state.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_the_script_says_what_each_door_did() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as shut:
        shut.bind(("127.0.0.1", 0))
        opened, refused = (f"127.0.0.1:{each.getsockname()[1]}" for each in (listener, shut))
        silent = "192.0.2.1:9500"  # for documentation (RFC 5737): there is no such machine
        words = [*knock(NOBODY, (refused, opened, silent)).argv]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    assert {f"open {opened}", f"refused {refused}"} <= {*done.stdout.splitlines()}
    assert f"open {silent}" not in done.stdout
