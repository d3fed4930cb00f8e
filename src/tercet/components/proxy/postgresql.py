"""What the proxies need of PostgreSQL."""

from __future__ import annotations

from tercet.components.patroni.parameters import Parameters

# A proxy holds up to 40 connections for writes (PgCat 20 for each login, pgpool-II 32 in all), and the one at the
# primary's own site as many for reads.
CONNECTIONS = Parameters(lambda _context: {"max_connections": 200})
