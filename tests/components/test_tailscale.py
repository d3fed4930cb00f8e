"""The command that joins the tailnet, and the kernel's settings of TCP."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tercet.components.context import Context
from tercet.components.tailscale.component import Tailscale
from tercet.components.tcp import SYSCTL
from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import File, Object, Unit
from tercet.inventory.model import TailnetModel


def test_a_login_server_reaches_tailscale_as_one_word_whatever_is_in_it(context: Context) -> None:
    url = "https://hs.example.org/it's;$(reboot)"
    tailnet = TailnetModel(login_server=url, auth_key="env:KEY")
    settings = context.platform.settings.model_copy(update={"provider": "proxmox", "tailnet": tailnet})
    platform = dataclasses.replace(context.platform, settings=settings)
    component = Tailscale(dataclasses.replace(context, platform=platform))
    wanted = component.desired(platform.nodes[0])
    (login,) = (each for each in wanted if isinstance(each, Object) and each.name.startswith("tailnet login"))
    (join,) = login.change
    assert isinstance(join, Exec)
    assert f"--login-server={url}" in join.argv


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(0, "tcp_rto_min_us 50000\ntcp_thin_linear_timeouts 1\n"), None),
        (Answer(0, "tcp_thin_linear_timeouts 1\n"), None),  # Linux before 6.11 has no other
        (Answer(0, ""), None),  # nothing there that this container may set
        (Answer(0, "tcp_rto_min_us 200000\ntcp_thin_linear_timeouts 1\n"), "tcp_rto_min_us is 200000, wanted 50000"),
        (Answer(-1, error="no answer"), "no answer"),
    ],
)
def test_tcp_is_set_again_where_it_differs_and_only_where_it_can_be(
    context: Context, answer: Answer, reason: str | None
) -> None:
    (tcp,) = (each for each in _wanted(context) if isinstance(each, Object) and each.name.startswith("TCP"))
    assert tcp.differs(answer) == reason


def test_tcp_is_set_before_anything_opens_a_socket_and_by_each_start_of_the_node(context: Context) -> None:
    wanted = _wanted(context)
    (file,) = (each for each in wanted if isinstance(each, File) and each.path == SYSCTL)
    assert isinstance(file.content, bytes)
    # Ignored where it cannot be set: a start of the node must not fail for it.
    assert all(re.fullmatch(r"-net\.ipv4\.tcp_\w+ = \d+", line) for line in file.content.decode().splitlines())
    first = next(each for each in wanted if isinstance(each, Unit | Object))
    assert isinstance(first, Object) and first.name.startswith("TCP")


def _wanted(context: Context) -> list[object]:
    return list(Tailscale(context).desired(context.platform.nodes[0]))
