"""What `verify` proves of replication: commits wait for standbys now, and would do so if there were none."""

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


def proof(context: Context) -> Proof:
    """Nothing where no standby confirms: a condition of Patroni's says that a write is on one disk only."""
    platform = context.platform
    if not platform.confirming:
        return Proof()
    api = patroni.Patroni(context).api
    asked: dict[str, dict[str, Request]] = {
        node.name: {"proof.sync": _SYNC, "proof.config": api("/config", node)} for node in platform.of(Role.DB)
    }
    return Proof((quorum_commit(platform), strict(platform)), asked)


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
