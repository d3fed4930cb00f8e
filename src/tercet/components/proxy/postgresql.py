"""What the proxies need of PostgreSQL."""

from __future__ import annotations

from tercet.components.patroni.parameters import Parameters

# A proxy holds up to 32 connections for writes, and its own site's 32 for reads.
CONNECTIONS = Parameters(lambda _context: {"max_connections": 200})
