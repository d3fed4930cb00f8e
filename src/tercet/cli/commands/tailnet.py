"""`tercet tailnet policy`: prints the access controls for the operator's own tailnet."""

from __future__ import annotations

import click

from tercet.cli.command import Group, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform

cli = Group("tailnet", section=Section.LOOK, order=6, help="print the access controls that the tailnet needs")


@cli.command(
    "policy",
    help="print a policy for Tailscale or headscale: each node may use what it needs, other devices reach no node",
    examples=(
        ("tercet tailnet policy", "for the access controls of Tailscale's admin console"),
        ("tercet tailnet policy > policy.json", "for headscale: headscale policy set --file policy.json"),
    ),
)
@click.pass_obj
def policy_(call: Invocation) -> int:
    """Print the policy as JSON. It changes nothing."""
    from tercet.operations.tailnet_policy import policy_of  # noqa: PLC0415

    call.print_json(on_platform(call, policy_of))
    return 0
