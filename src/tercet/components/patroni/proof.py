"""What `verify` proves of PostgreSQL: commits wait for standbys now, and would do so if there were none; and all that
comes from other nodes is encrypted.
"""

from __future__ import annotations

import json

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.proof import Proof
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Exec, Request
from tercet.inventory.platform import Platform, Role

_SYNC = Exec(
    (
        *patroni.AS_POSTGRES,
        *(patroni.PSQL, "-XAtq", "-c"),
        "SELECT current_setting('synchronous_standby_names') || '|' || (SELECT count(*) FROM pg_stat_replication "
        "WHERE sync_state IN ('quorum', 'sync')) WHERE NOT pg_is_in_recovery()",
    )
)
_SESSIONS = Exec(
    (
        *patroni.AS_POSTGRES,
        *(patroni.PSQL, "-XAtq", "-c"),
        "SELECT count(*), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
        "WHERE client_addr IS NOT NULL",
    )
)


def proof(context: Context) -> Proof:
    """Nothing about commits where no standby confirms: a condition of Patroni's says that a write is on one disk."""
    platform = context.platform
    api = patroni.Patroni(context).api
    conditions = [encrypted(platform)]
    asked: dict[str, dict[str, Request]] = {node.name: {"proof.tls": _SESSIONS} for node in platform.of(Role.DB)}
    if platform.confirming:
        conditions += [quorum_commit(platform), strict(platform)]
        for node in platform.of(Role.DB):
            asked[node.name] |= {"proof.sync": _SYNC, "proof.config": api("/config", node)}
    return Proof(tuple(conditions), asked)


def encrypted(platform: Platform) -> Condition:
    databases = [node.name for node in platform.of(Role.DB)]

    def check(readings: Readings) -> State:
        total = 0
        for name in readings.present(databases):
            answer = readings.get(name, "proof.tls")
            sessions, _, plain = answer.text.strip().partition("|")
            if not sessions.isdigit() or not plain.isdigit():
                return Waiting(f"{name} does not say who is connected ({answer.why()})")
            if int(plain):
                return Waiting(f"{plain} of {sessions} sessions from other nodes at {name} have no TLS")
            total += int(sessions)
        return Passing(f"{total} sessions")

    return Condition("postgresql: every session from another node has TLS", check)


def quorum_commit(platform: Platform) -> Condition:
    databases = [node.name for node in platform.of(Role.DB)]
    needed = platform.confirming

    def check(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        if not primary:
            return Waiting("no running primary")
        names, _, count = readings.get(primary, "proof.sync").text.strip().partition("|")
        if not names.startswith(f"ANY {needed} "):
            return Waiting(f"synchronous_standby_names is {names!r} on {primary}")
        if count != str(len(databases) - 1):
            return Waiting(f"{count} standbys count for commits on {primary}")
        return Passing(names)

    return Condition("postgresql: quorum commit is in force on the primary", check)


def strict(platform: Platform) -> Condition:
    """What Patroni would do without a standby that confirms: PostgreSQL itself shows it only then."""
    databases = [node.name for node in platform.of(Role.DB)]

    def check(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        if not primary:
            return Waiting("no running primary")
        answer = readings.get(primary, "proof.config")
        config = answer.json()
        if not isinstance(config, dict):
            return Waiting(f"Patroni on {primary} does not report its configuration ({answer.why()})")
        mode, on = config.get("synchronous_mode"), config.get("synchronous_mode_strict")
        if mode != "quorum":
            return Waiting(f"synchronous_mode is {_shown(mode)} on {primary}, wanted quorum")
        if str(on).lower() not in ("true", "on"):
            return Waiting(f"synchronous_mode_strict is {_shown(on)} on {primary}, wanted true")
        return Passing("quorum, strict")

    return Condition("postgresql: strict synchronous mode is configured", check)


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value)
