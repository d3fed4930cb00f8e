"""The proxy of each apps node: PgCat or pgpool-II, and what leads it to the right database nodes."""
