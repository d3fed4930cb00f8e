"""Whether the proxy of an apps node serves, and who may be disturbed. Each proxy serves its own node alone."""

from __future__ import annotations

from tercet.components.patroni.component import PSQL
from tercet.components.rolling import in_turn
from tercet.converge.requests import Exec
from tercet.converge.resources import Rolling
from tercet.datafile import text_of
from tercet.inventory.platform import Platform

PASSFILE = "/etc/tercet/application.pgpass"  # lets root on the node connect like the application
SERVES = text_of(__package__, "serves.sh", PASSFILE=PASSFILE, PSQL=PSQL)


def proxies(platform: Platform) -> Rolling:
    """The group of all that a node needs to serve its applications. A node where nothing answers is changed at once."""
    postgresql = platform.settings.postgresql
    words = ("sh", "-c", SERVES, "sh", postgresql.user, postgresql.database)
    return in_turn("proxies", serves=Exec(words, timeout=4))
