"""The command that joins the tailnet."""

from __future__ import annotations

import dataclasses
import shlex

from tercet.components import Context
from tercet.components.tailscale import Tailscale
from tercet.converge.requests import Exec
from tercet.converge.resources import Object
from tercet.inventory.model import TailnetModel


def test_a_login_server_reaches_tailscale_as_one_word_whatever_is_in_it(context: Context) -> None:
    url = "https://hs.example.org/it's;$(reboot)"
    tailnet = TailnetModel(login_server=url, auth_key="env:KEY")
    settings = context.platform.settings.model_copy(update={"provider": "proxmox", "tailnet": tailnet})
    platform = dataclasses.replace(context.platform, settings=settings)
    component = Tailscale(dataclasses.replace(context, platform=platform))
    (login,) = (each for each in component.desired(platform.nodes[0]) if isinstance(each, Object))
    (join,) = login.change
    assert isinstance(join, Exec)
    assert f"--login-server={url}" in shlex.split(join.argv[2])
