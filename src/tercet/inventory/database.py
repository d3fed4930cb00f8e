"""The users and databases of the cluster that are not the application's. The one place that names them."""

from __future__ import annotations

SUPERUSER, REPLICATOR, REWINDER = "postgres", "replicator", "rewinder"
RESERVED_USERS = (SUPERUSER, REPLICATOR, REWINDER, "public", "none")  # the last two mean something to GRANT
RESERVED_DATABASES = ("postgres", "template0", "template1")
