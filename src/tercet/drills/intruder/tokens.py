"""Root of a node tries what is for others: with its own token, with stolen and invented ones, and without any."""

from __future__ import annotations

import json
from uuid import uuid4

from tercet.components import endpoints
from tercet.components.consul.tokens import of_agent, of_node
from tercet.components.dcs.proof import NEVER
from tercet.components.patroni.declaration import scope
from tercet.drills.intruder.attempt import Attempt, Call, not_denied
from tercet.inventory.platform import Role
from tercet.nodeside.endpoint import Endpoint
from tercet.session.session import Session


async def attempts(session: Session) -> list[Attempt]:
    return [*await _consul(session), *await _nomad(session), await _patroni(session)]


async def _consul(session: Session) -> list[Attempt]:
    platform, secrets = session.platform, session.context.secrets
    home, away = platform.sites[0], platform.sites[-1]
    control, apps, database = (platform.at(home.name, role).name for role in (Role.CONTROL, Role.APPS, Role.DB))
    cas = f"?cas={NEVER}"  # so it would change nothing
    config = f"{scope(platform)}/config"  # Patroni runs commands that it finds there
    counter = f"/v1/kv/tercet/count/{platform.at(away.name, Role.CONTROL).name}{cas}"
    managers = (
        Call("GET", "/v1/acl/tokens"),
        Call("GET", "/v1/snapshot"),  # has all tokens
        Call("PUT", f"/v1/kv/tercet/intruder{cas}", "x"),
        Call("PUT", "/v1/catalog/deregister", '{"Node": "tercet-intruder-none"}'),  # there is no such node
    )
    session_of_it = json.dumps({"Node": database, "TTL": "10s", "LockDelay": "0s"})  # holds no key, and ends by itself
    databases = (
        Call("PUT", f"/v1/kv/{config}{cas}", "x"),
        Call("DELETE", f"/v1/kv/{config}{cas}"),
        Call("PUT", "/v1/session/create", session_of_it),
    )
    servers = (Call("PUT", counter, "9"), Call("GET", "/v1/operator/raft/configuration"))
    nodes = (Call("GET", f"/v1/kv/{config}"),)
    everything = (*managers, *servers, *databases)
    plain = endpoints.dcs(platform)

    def shown(token: str) -> Endpoint:
        return plain._replace(authorization=f"Bearer {token}")

    tried = (
        (apps, "its own token", plain, everything),
        (control, "its own token", plain, (*managers, *databases, servers[0])),
        (database, "its own token", plain, (*managers, *servers)),
        (database, f"the token of {apps}", shown(of_node(secrets, apps)), everything),
        (apps, "the token of its agents", shown(of_agent(secrets, apps)), (*everything, *nodes)),
        (
            apps,
            f"the token of the agents of {database}",
            shown(of_agent(secrets, database)),
            (*everything, *nodes),
        ),
        (database, "no token", shown("anonymous"), (*everything, *nodes)),
        (apps, "an invented token", shown(str(uuid4())), (*everything, *nodes)),
    )
    return [
        Attempt(
            f"root on {node} with {what}",
            f"{len(calls)} calls to dcs that are for others",
            await not_denied(session.provider, node, at, calls),
        )
        for node, what, at, calls in tried
    ]


async def _nomad(session: Session) -> list[Attempt]:
    plain = endpoints.nomad(session.platform)
    calls = (
        Call("GET", "/v1/jobs"),
        Call("DELETE", "/v1/job/tercet-intruder-none"),  # there is no such job
        Call("GET", "/v1/acl/tokens"),
        Call("GET", "/v1/operator/raft/configuration"),
        Call("GET", "/v1/operator/snapshot"),
    )
    home = session.platform.sites[0].name
    return [
        Attempt(
            f"root on {node} with {what}",
            f"{len(calls)} calls to nomad",
            await not_denied(session.provider, node, at, calls),
        )
        for node in (session.platform.at(home, role).name for role in (Role.CONTROL, Role.APPS))
        for what, at in (
            ("no token", plain),
            ("an invented token", plain._replace(authorization=f"Bearer {uuid4()}")),
        )
    ]


async def _patroni(session: Session) -> Attempt:
    """Whoever knows the password, but has no certificate of a database node."""
    node = session.platform.at(session.platform.sites[0].name, Role.DB).name
    at = endpoints.patroni(session.platform, node, session.context.secrets)._replace(certificate="")
    calls = (Call("PATCH", "/config", "{}"), Call("POST", "/switchover", "{}"))
    return Attempt(
        f"root on {node} with the password of Patroni's API and no certificate",
        f"{len(calls)} calls to Patroni",
        await not_denied(session.provider, node, at, calls),
    )
