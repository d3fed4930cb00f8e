"""The proxy of each apps node: PgCat or pgpool-II, and the programs that lead it to the right database nodes."""
