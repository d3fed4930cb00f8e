"""The log lines of Consul Template 0.42, PgCat 5b03881, pgpool-II 4.x and nodeside/routes.py."""

from __future__ import annotations

from tercet.inventory.journals import UnitJournal, What, rules

CONSUL_TEMPLATE = rules(
    (What.RENDERED, r'\(runner\) rendered ".*" => "([^"]+)"'),  # manager/runner.go
    (What.COMMAND, r"\(runner\) executing command (.+) from "),
)
PROXY = rules(
    (What.PROXY_READY, r"Reloading config"),  # PgCat main.rs
    (What.PROXY_READY, r"pgpool-II successfully started"),  # pgpool_main.c
)
ROUTES = rules(  # nodeside/routes.py
    (What.PROXY_READY, r"^198\.18\.0\.1 : (\d\S*)"),  # "nowhere" is no place for a write
    (What.GUARDED, r"^([\d.]+) is silent"),
    (What.ANSWERS, r"^([\d.]+) answers$"),
)
SYSTEMD = rules((What.PROXY_READY, r"^(?:Reloaded|Started) "))

JOURNALS = (
    UnitJournal("consul-template.service", "consul-template", CONSUL_TEMPLATE),
    *(UnitJournal(unit, "proxy", PROXY, systemd=SYSTEMD) for unit in ("pgcat.service", "pgpool2.service")),
    UnitJournal("tercet-routes.service", "proxy", ROUTES, systemd=SYSTEMD),
)
