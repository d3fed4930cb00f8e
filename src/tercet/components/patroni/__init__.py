"""PostgreSQL under Patroni, and tercet's small daemons for it."""
