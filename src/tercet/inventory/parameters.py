"""Checks PostgreSQL parameters: their names, those that tercet sets itself, and values that would break a promise.

postgresql-17.txt has the names that a configuration may contain: `postgres --describe-config` of Debian's 17, and the
developer options that it leaves out. A name with a dot belongs to an extension and is not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

from tercet.inventory.problems import Finding, Location, quoted
from tercet.inventory.shapes import Setting

_ADDRESS = "tercet binds PostgreSQL to the tailnet address; set `ports.postgresql` for the port"
_SYNCHRONOUS = "Patroni sets it as standbys come and go; see `patroni.synchronous_node_count`"
_STANDBY = "Patroni writes it on each standby"
_READ_ONLY = "tercet's read-only guard sets it when no standby is left and takes it back"
_FILES = "tercet places PostgreSQL's files"
_REWIND = "tercet keeps it on: pg_rewind needs it to bring an old primary back"
_TLS = "tercet makes the certificates, and every connection between nodes uses them"
_DURABLE = "tercet keeps it on: off, a power cut loses acknowledged writes"

OWNED: Mapping[str, str] = {
    "listen_addresses": _ADDRESS,
    "port": _ADDRESS,
    "cluster_name": "Patroni sets it to `postgresql.service`",
    "synchronous_standby_names": _SYNCHRONOUS,
    "primary_conninfo": _STANDBY,
    "primary_slot_name": _STANDBY,
    "hot_standby": "tercet keeps it on: standbys serve reads",
    "recovery_min_apply_delay": "a standby that lags on purpose cannot take over",
    "default_transaction_read_only": _READ_ONLY,
    "transaction_read_only": _READ_ONLY,
    "wal_log_hints": _REWIND,
    "full_page_writes": _DURABLE,
    "fsync": _DURABLE,
    "data_directory": _FILES,
    "config_file": _FILES,
    "hba_file": _FILES,
    "ident_file": _FILES,
    "external_pid_file": _FILES,
    "data_checksums": "it is chosen when the cluster is made; tercet has it on",
    "password_encryption": "all passwords are SCRAM",
    "ssl": _TLS,
    "ssl_cert_file": _TLS,
    "ssl_key_file": _TLS,
    "ssl_min_protocol_version": _TLS,
}
_RECOVERY_TARGET = "a point to recover to belongs to a restore, not to a running cluster"


@dataclass(frozen=True, slots=True)
class _Limit:
    """The values of a parameter that keep the promises, as text, and one of them as an example."""

    holds: Callable[[Setting], bool]
    expected: str
    write: str


def _limits(standbys: int) -> Mapping[str, _Limit]:
    senders = standbys + 2  # a base backup needs two in addition to those of the streaming standbys
    return {
        "synchronous_commit": _Limit(
            lambda value: value is True or value in ("on", "remote_write", "remote_apply"),
            "on, remote_write or remote_apply: anything weaker acknowledges writes that no standby has",
            "on",
        ),
        "wal_level": _Limit(
            lambda value: value in ("replica", "logical"), "replica or logical: standbys stream", "replica"
        ),
        "max_wal_senders": _Limit(
            lambda value: _at_least(value, senders),
            f"at least {senders}: one for each standby and two for a base backup",
            str(senders),
        ),
        "max_replication_slots": _Limit(
            lambda value: _at_least(value, standbys), f"at least {standbys}: one for each standby", str(standbys)
        ),
    }


def check(parameters: Mapping[str, Setting], at: Location, standbys: int) -> Iterator[Finding]:
    """What is wrong with the operator's parameters. `standbys` is the number of standbys."""
    limits = _limits(standbys)
    for name, value in parameters.items():
        here = (*at, name)
        plain = name.lower()
        if not plain.replace("_", "").replace(".", "").isalnum() or not plain.isascii():
            yield Finding(here, "the name of a PostgreSQL parameter", quoted(name), "work_mem: 16MB", on_key=True)
        elif reason := OWNED.get(plain) or (_RECOVERY_TARGET if plain.startswith("recovery_target") else None):
            yield Finding(
                here,
                f"no {plain} here ({reason})",
                "it",
                "nothing: remove the line",
                on_key=True,
            )
        elif plain in limits and not limits[plain].holds(value):
            yield Finding(here, limits[plain].expected, quoted(value), f"{name}: {limits[plain].write}")
        elif "." not in plain and plain not in known():
            close = get_close_matches(plain, known(), n=1, cutoff=0.75)
            write = f"{close[0]}: {value} (did you mean this?)" if close else "nothing: remove the line"
            expected = "a parameter of PostgreSQL 17 (an extension's has a dot in its name)"
            yield Finding(here, expected, quoted(name), write, on_key=True)


@cache
def known() -> tuple[str, ...]:
    """The names of all parameters, in lower case."""
    return tuple(resources.files("tercet.inventory").joinpath("postgresql-17.txt").read_text("ascii").split())


def _at_least(value: Setting, least: int) -> bool:
    try:
        return int(value) >= least
    except ValueError:
        return False
