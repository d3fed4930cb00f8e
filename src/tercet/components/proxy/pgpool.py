"""pgpool-II on an apps node: the proxy where PgCat cannot be had.

Invariant: who is primary is Patroni's decision, so everything by which pgpool would decide on its own (health
checks, failover, streaming replication checks) is off; its two backends follow Consul. Backend 0 is the
primary and never reads unless it is the local node; backend 1 is where this site reads. pgpool opens a
session on every backend of its list, so a backend that is gone must leave the list: without a primary only
the read backend is rendered, and reads go on.
"""

from __future__ import annotations

from tercet.components.context import Context
from tercet.components.proxy.flavour import Flavour, choose_servers
from tercet.components.systemd import NEEDS_TAILNET, unit_file, unit_path
from tercet.converge.resources import Directory, File
from tercet.inventory.platform import Node

UNIT = "pgpool2.service"
DIR = "/etc/pgpool2"
CONFIG = f"{DIR}/pgpool.conf"
HBA = f"{DIR}/pool_hba.conf"
PASSWORDS = f"{DIR}/pool_passwd"
PCP = f"{DIR}/pcp.conf"


def flavour(context: Context, node: Node) -> Flavour:
    settings, secrets = context.platform.settings, context.secrets
    hba = "".join(f"host all all {net} scram-sha-256\n" for net in ("127.0.0.1/32", "::1/128"))
    # SCRAM to the servers needs the password itself; the file is readable by pgpool's user alone.
    password = f"{settings.postgresql.user}:TEXT{secrets.postgres_application}\n"
    unit = unit_file(
        "pgpool-II",
        {
            "User": "postgres",
            "RuntimeDirectory": "pgpool",
            "ExecStartPre": f"/bin/sh -c 'until [ -s {CONFIG} ]; do sleep 0.1; done'",
            "ExecStart": f"/usr/sbin/pgpool -n -D -f {CONFIG} -F {PCP} -a {HBA}",
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "KillSignal": "SIGINT",  # pgpool's fast shutdown; SIGTERM waits for every client to leave
            "TimeoutStartSec": "infinity",
            "TimeoutStopSec": 1,
        },
        unit=NEEDS_TAILNET,
    )
    return Flavour(
        kind="pgpool",
        unit=UNIT,
        config=CONFIG,
        owner="postgres",
        template=_template(context, node),
        refresh="restart",  # a changed backend_hostname takes effect at start only
        resources=(
            Directory(DIR, purge=False),
            File(HBA, hba.encode(), group="postgres", mode=0o640),
            File(PASSWORDS, password.encode(), owner="postgres", group="postgres", mode=0o600, secret=True),
            File(PCP, b"", group="postgres", mode=0o640),
            File(unit_path(UNIT), unit),
        ),
        restart_on=(unit_path(UNIT), HBA, PASSWORDS, PCP),
        write_route="/*NO LOAD BALANCE*/ SELECT inet_server_addr()",
    )


def _template(context: Context, node: Node) -> bytes:
    settings = context.platform.settings
    config: dict[str, str | int] = {
        "backend_clustering_mode": "streaming_replication",
        "listen_addresses": "localhost",
        "port": settings.ports.proxy,
        "unix_socket_directories": "/run/pgpool",
        "pcp_listen_addresses": "localhost",
        "pcp_socket_dir": "/run/pgpool",
        "pid_file_name": "/run/pgpool/pgpool.pid",
        "logdir": "/run/pgpool",
        "work_dir": "/run/pgpool",
        "log_destination": "stderr",
        "enable_pool_hba": "on",
        "pool_passwd": PASSWORDS,
        "num_init_children": 32,
        "max_pool": 1,
        "connect_timeout": 500,  # ms; a silent server must cost less than the failover
        "load_balance_mode": "on",
        "statement_level_load_balance": "on",
        "disable_load_balance_on_write": "transaction",
        "check_temp_table": "trace",  # else each new relation costs a look at the primary's catalogue
        "check_unlogged_table": "off",
        "sr_check_period": 0,
        "health_check_period": 0,
        "failover_on_backend_error": "off",
        "failover_on_backend_shutdown": "off",
        "auto_failback": "off",
        "use_watchdog": "off",
        "memory_cache_enabled": "off",
        # Allocated even while the cache is off: 130 MB by default, cleared at each start.
        "memqcache_total_size": "1MB",
        "memqcache_max_num_cache": 100,
    }
    lines = [f"{key} = '{value}'" for key, value in config.items()]
    port = settings.ports.postgresql
    return (
        choose_servers(context.platform, node.site)
        + "\n".join(lines)
        + f"""
{{{{- $primary := scratch.Get "primary" }}}}{{{{ $read := scratch.Get "read" }}}}
{{{{- if and (ne $primary "") (ne $primary $read) }}}}
{_backend(0, "{{ $primary }}", port, 0, "ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER")}
{_backend(1, "{{ $read }}", port, 1, "DISALLOW_TO_FAILOVER")}
{{{{- else if ne $primary "" }}}}
{_backend(0, "{{ $primary }}", port, 1, "ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER")}
{{{{- else if ne $read "" }}}}
{_backend(0, "{{ $read }}", port, 1, "DISALLOW_TO_FAILOVER")}
{{{{- else }}}}
# No database passes its check: port 1 refuses at once, so an application gets an error and no silence.
{_backend(0, "127.0.0.1", 1, 1, "DISALLOW_TO_FAILOVER")}
{{{{- end }}}}
"""
    ).encode()


def _backend(number: int, host: str, port: int, weight: int, flag: str) -> str:
    values = {"hostname": f"'{host}'", "port": port, "weight": weight, "flag": f"'{flag}'"}
    return "\n".join(f"backend_{key}{number} = {value}" for key, value in values.items())
