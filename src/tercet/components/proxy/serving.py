"""Whether the proxy of an apps node serves, and who may be disturbed. Each proxy serves its own node alone."""

from __future__ import annotations

from tercet.components.patroni.component import PSQL
from tercet.components.rolling import in_turn
from tercet.converge.requests import Exec
from tercet.converge.resources import Rolling
from tercet.datafile import text_of

PASSFILE = "/etc/tercet/application.pgpass"  # the logins with which root on the node connects like the application
SERVES = text_of(__package__, "serves.sh", PASSFILE=PASSFILE, PSQL=PSQL)


def proxies() -> Rolling:
    """The group of all that a node needs to serve its applications. A node where nothing answers is changed at once."""
    return in_turn("proxies", serves=Exec(("sh", "-c", SERVES), timeout=6))
