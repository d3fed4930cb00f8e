"""PgCat on an apps node.

PgCat silently ignores every key that it does not know, so each key here was checked in its source at 5b03881. It cannot
prefer the local server, so exactly one `replica` line is rendered. docs/components/proxy.md has the reasons for the
values.
"""

from __future__ import annotations

import tomli_w

from tercet.components.context import Context
from tercet.components.patroni.declaration import PatroniPorts, logins
from tercet.components.proxy.declaration import ADMIN_PASSWORD, UNITS, ProxyPorts
from tercet.components.proxy.flavour import STATE, Flavour, template
from tercet.components.proxy.serving import proxies
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import NEEDS_TAILNET, unit_file, unit_path
from tercet.converge.resources import File, Unit
from tercet.datafile import text_of
from tercet.inventory.platform import Node

UNIT = UNITS["pgcat"]
CONFIG = f"{STATE}/pgcat.toml"
PID_FILE = "/run/pgcat/pid"
SERVERS = "tercet-servers-go-here"


def flavour(context: Context, node: Node) -> Flavour:
    programs = context.program("pgcat")
    unit = unit_file(
        "PgCat",
        {
            "User": "postgres",
            "ExecStartPre": f"/bin/sh -c 'until [ -s {CONFIG} ]; do sleep 0.1; done'",
            "RuntimeDirectory": "pgcat",  # removed with the file when the unit stops
            "ExecStart": f"/usr/local/bin/pgcat {CONFIG}",
            "ExecStartPost": f"/bin/sh -c 'echo $MAINPID > {PID_FILE}'",
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "TimeoutStartSec": "infinity",
            "TimeoutStopSec": 2,
            "LimitNOFILE": 65536,
        },
        sandbox=Sandbox(read_only=True),
        unit=NEEDS_TAILNET,
    )
    return Flavour(
        kind="pgcat",
        rendered=CONFIG,
        group="postgres",
        template=_template(context, node),
        pid_file=PID_FILE,
        resources=(*programs, File(unit_path(UNIT), unit)),
        units=(
            Unit(
                UNIT,
                restart_on=(unit_path(UNIT), *(program.link for program in programs)),
                rolling=proxies(),
            ),
        ),
        checks=(),
        # Outside a transaction block reads go to the replica; a block goes to `default_role` as a whole.
    )


def _template(context: Context, node: Node) -> bytes:
    settings, secrets = context.platform.settings, context.secrets
    config = {
        "general": {
            "host": "127.0.0.1",
            "port": settings.ports.of(ProxyPorts).proxy,
            "admin_username": "pgcat",
            "admin_password": secrets.password(ADMIN_PASSWORD),
            "connect_timeout": 500,  # ms; a silent server must cost less than the failover
            "server_tls": True,
            "verify_server_certificate": False,  # it would accept the authorities of the web, and no other
            "tcp_user_timeout": 1500,  # ms; its default of 10 s hung writes to a dead primary for 10.6 s
            "tcp_keepalives_idle": 1,
            "tcp_keepalives_interval": 1,
            "tcp_keepalives_count": 2,
            "healthcheck_delay": 5000,
            "ban_time": 5,  # seconds
            "idle_timeout": 60000,
            "validate_config": False,  # otherwise a dead server makes a reload fail after the change
        },
        "pools": {
            settings.postgresql.database: {
                "pool_mode": "transaction",
                "default_role": "primary",
                "query_parser_enabled": True,
                "query_parser_read_write_splitting": True,
                "primary_reads_enabled": False,
                "prepared_statements_cache_size": 500,
                "users": {
                    str(number): {"username": name, "password": secrets.password(password), "pool_size": 20}
                    for number, (name, password) in enumerate(logins(context.platform).items())
                },
                "shards": {"0": {"database": settings.postgresql.database, "servers": SERVERS}},
            }
        },
    }
    servers = text_of(__package__, "pgcat-servers.ctmpl", PORT=settings.ports.of(PatroniPorts).postgresql).strip()
    text = tomli_w.dumps(config).replace(f'"{SERVERS}"', servers)
    return (template("servers.ctmpl", context.platform, node.site) + text).encode()
