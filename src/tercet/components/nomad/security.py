"""Who may do what in Nomad.

Without a token, a request may only see the agents and the clients. The token for management may do everything. It is on
the control nodes, which hold Nomad's Raft, in a file for people and programs there (MANAGEMENT).

Nomad's Raft stores that the token is valid, so `apply` creates it there: once, because Nomad never accepts a second
one in this way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.derived import Derived
from tercet.components.nomad import tokens
from tercet.converge.requests import Answer, Http
from tercet.converge.resources import File, Object
from tercet.inventory.platform import Role

MANAGEMENT = "/etc/tercet/nomad.token"
ANONYMOUS = "anonymous"  # the policy of requests without a token
RULES = 'agent { policy = "read" }\nnode { policy = "read" }\n'
SETTLE_S = 60.0


def settings() -> dict[str, object]:
    return {"acl": {"enabled": True}}


def token(context: Context) -> File:
    return File(MANAGEMENT, f"{tokens.management(context.secrets)}\n".encode(), mode=0o600, secret=True)


def created(context: Context) -> Iterable[Object]:
    """The token, and what may be done without one."""
    platform, secrets = context.platform, context.secrets
    nomad, may = endpoints.nomad(platform), endpoints.nomad(platform, secrets)
    servers = tuple(node.name for node in platform.of(Role.CONTROL))
    bootstrap = json.dumps({"BootstrapSecret": tokens.management(secrets)}).encode()
    yield Object(
        "the token of nomad",
        Http(may, "/v1/acl/token/self"),
        _invalid,
        (Http(nomad, "/v1/acl/bootstrap", "POST", bootstrap, timeout=10),),
        on=servers,
        settle=SETTLE_S,
    )
    policy = {"Name": ANONYMOUS, "Description": "tercet: requests without a token", "Rules": RULES}
    yield Object(
        "what nomad allows without a token",
        Http(may, f"/v1/acl/policy/{ANONYMOUS}"),
        _differs,
        (Http(may, f"/v1/acl/policy/{ANONYMOUS}", "POST", json.dumps(policy).encode(), timeout=10),),
        on=servers,
        settle=SETTLE_S,
    )


def _invalid(answer: Answer) -> str | None:
    return None if answer.ok else f"it is not valid ({answer.why()})"


def _differs(answer: Answer) -> str | None:
    found = answer.json()
    if not isinstance(found, dict):
        return f"there is no such policy ({answer.why()})"
    return None if found.get("Rules") == RULES else "the policy has other rules"


def _secrets(context: Context) -> Mapping[str, str]:
    return {"token of Nomad": tokens.management(context.secrets)}


SECRETS = Derived(_secrets)
