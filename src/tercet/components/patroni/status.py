"""PostgreSQL in `status`: its members, and the database files that were moved aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import Field
from rich.text import Text

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni.aside import AsideStatus, moved_aside
from tercet.components.patroni.sentinel import read_only
from tercet.components.status import Notes, StatusModel, Table
from tercet.converge.component import Readings
from tercet.tables import Cell, day, size


class MemberStatus(StatusModel):
    """One PostgreSQL. `lag_bytes` is null for the primary and if it is unknown. `sync`: whether it counts for
    commits.
    """

    node: str
    role: str
    state: str
    lag_bytes: int | None
    sync: bool


class PostgresStatus(StatusModel):
    primary: str | None
    members: list[MemberStatus]
    writable: bool


class PostgresKeys(StatusModel):
    postgres: PostgresStatus


class AsideKeys(StatusModel):
    aside: list[AsideStatus] = Field(default=[])


def _read(context: Context, readings: Readings) -> PostgresKeys:
    databases = context.platform.databases
    members = [
        MemberStatus(
            node=str(member["name"]),
            role="primary" if member.get("role") == "leader" else "standby",
            state=str(member.get("state")),
            lag_bytes=member["lag"] if isinstance(member.get("lag"), int) else None,
            sync="sync" in str(member.get("role")) or "quorum" in str(member.get("role")),
        )
        for member in patroni.members_of(readings, databases)
    ]
    primary = patroni.primary_of(readings, databases) or None
    writable = primary is not None and not read_only(readings, primary)
    return PostgresKeys(postgres=PostgresStatus(primary=primary, members=members, writable=writable))


def _rows(seen: PostgresKeys) -> Iterable[Sequence[Cell]]:
    for member in seen.postgres.members:
        if member.role == "primary":
            yield member.node, _primary(writable=seen.postgres.writable), member.state, "", ""
        else:
            lag = "unknown" if member.lag_bytes is None else f"{member.lag_bytes} B"
            yield member.node, member.role, member.state, lag, "yes" if member.sync else "no"
    if not seen.postgres.members:
        yield Text("no Patroni answers", "red"), "", "", "", ""


def _primary(*, writable: bool) -> Text:
    text = Text("primary", "bold")
    return text.append(" accepts writes", "") if writable else text.append(" READ-ONLY", "red")


def _aside(context: Context, readings: Readings, now: datetime) -> AsideKeys:
    return AsideKeys(aside=moved_aside(context.platform, readings, now))


def aside_lines(aside: Iterable[AsideStatus]) -> Iterable[Text]:
    """A line for each, and a second line if it is removed soon."""
    for each in aside:
        line = f"{each.node} {each.name}, {size(each.bytes)}, kept until {day(each.until)}: {each.reason}"
        yield Text("moved aside: ", "dim").append(line)
        if each.warning:
            yield Text("! ", "yellow").append(f"{each.node} {each.name}: {each.warning}")


HEADS = ("POSTGRESQL", "ROLE", "STATE", "LAG", "COUNTS FOR COMMITS")
MEMBERS = Table(PostgresKeys, _read, HEADS, _rows, place=0)  # first, because most people look for it
ASIDE = Notes(AsideKeys, _aside, lambda seen: aside_lines(seen.aside))
