"""PostgreSQL under Patroni, and the small daemons beside it."""
