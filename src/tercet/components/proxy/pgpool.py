"""pgpool-II on an apps node: the proxy if PgCat is not available.

Invariants
- Only Patroni decides which node is primary, so everything with which pgpool would decide itself (health checks,
  failover, streaming replication checks) is off.
- pgpool must restart to change a backend, and a restart costs every application its connection for a second. So its two
  backends never change: they are addresses on the node that lead to the primary and to the node that this site reads
  from (routes.py).
- pgpool opens a session on every backend, so if the primary's address led nowhere, reads would stop, too.
"""

from __future__ import annotations

from tercet.components.context import Context
from tercet.components.patroni.declaration import AUTHORITY, PatroniPorts, logins
from tercet.components.proxy import routes
from tercet.components.proxy.declaration import UNITS, USER, ProxyPorts
from tercet.components.proxy.flavour import Flavour, template
from tercet.components.proxy.serving import proxies
from tercet.components.sandbox import Sandbox
from tercet.components.systemd import unit_file, unit_path
from tercet.converge.requests import Exec
from tercet.converge.resources import Directory, File, Object, Unit
from tercet.datafile import text_of
from tercet.inventory.platform import Node

UNIT = UNITS["pgpool"]
DIR = "/etc/pgpool2"
CONFIG = f"{DIR}/pgpool.conf"
HBA = f"{DIR}/pool_hba.conf"
PASSWORDS = f"{DIR}/pool_passwd"
PCP = f"{DIR}/pcp.conf"
AUTHORITIES = f"{DIR}/postgresql-ca.pem"
LIMIT = f"{DIR}/clients.nft"
TABLE = "inet tercet_pgpool"
CLIENTS = 32  # sessions at the same time
# These ways to send the rest of a transaction to the primary were tried with 4.6.1, in the simple and the extended
# protocol. BEGIN READ WRITE, or a comment /*NO LOAD BALANCE*/ only before BEGIN, has no effect.
DEVIATION = (
    "pgpool-II sends a transaction's reads before its first write to the node that this site reads: begin it with "
    "BEGIN ISOLATION LEVEL SERIALIZABLE, or make SET TRANSACTION READ WRITE its first statement, or use PgCat"
)


def flavour(context: Context, node: Node) -> Flavour:
    settings, secrets = context.platform.settings, context.secrets
    hba = "".join(f"host all all {net} scram-sha-256\n" for net in ("127.0.0.1/32", "::1/128"))
    # SCRAM with the servers needs the password itself. Only pgpool's user can read the file.
    passwords = "".join(f"{name}:TEXT{secrets.password(each)}\n" for name, each in logins(context.platform).items())
    unit = unit_file(
        "pgpool-II",
        {
            "User": "postgres",
            "RuntimeDirectory": "pgpool",
            "ExecStartPre": f"-+/usr/sbin/nft -f {LIMIT}",  # as root; if this fails, pgpool starts without the limit
            "ExecStopPost": f"-+/usr/sbin/nft delete table {TABLE}",  # another kind of proxy may follow
            "ExecStart": f"/usr/sbin/pgpool -n -D -f {CONFIG} -F {PCP} -a {HBA}",
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "KillSignal": "SIGINT",  # pgpool's fast shutdown; SIGTERM waits for every client to leave
            "TimeoutStopSec": 1,
        },
        sandbox=Sandbox(read_only=True),
        unit={"Wants": routes.UNIT, "After": routes.UNIT},
    )
    return Flavour(
        kind="pgpool",
        rendered=routes.FILE,
        group=USER,
        template=template("routes.ctmpl", context.platform, node.site).encode(),
        pid_file=routes.PID_FILE,
        resources=(
            *routes.resources(context.platform),
            Directory(DIR, purge=False),
            File(CONFIG, _config(context), group="postgres", mode=0o640),
            File(HBA, hba.encode(), group="postgres", mode=0o640),
            File(PASSWORDS, passwords.encode(), owner="postgres", group="postgres", mode=0o600, secret=True),
            File(PCP, b"", group="postgres", mode=0o640),
            File(AUTHORITIES, secrets.trusted(AUTHORITY).encode()),
            File(LIMIT, _limit(settings.ports.of(ProxyPorts).proxy)),
            File(unit_path(UNIT), unit),
        ),
        units=(
            routes.unit(context.platform),
            Unit(
                UNIT,
                restart_on=(unit_path(UNIT), CONFIG, HBA, PCP, LIMIT),
                reload_on=(PASSWORDS,),
                rolling=proxies(),
            ),
        ),
        checks=(routes.in_force(node.name), _limited(node.name)),
        deviation=DEVIATION,
    )


def _config(context: Context) -> bytes:
    settings = context.platform.settings
    config: dict[str, str | int] = {
        "backend_clustering_mode": "streaming_replication",
        **_backend(
            0, routes.PRIMARY, settings.ports.of(PatroniPorts).postgresql, 0, "ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER"
        ),
        **_backend(1, routes.READ, settings.ports.of(PatroniPorts).postgresql, 1, "DISALLOW_TO_FAILOVER"),
        "listen_addresses": "localhost",
        "port": settings.ports.of(ProxyPorts).proxy,
        "unix_socket_directories": "/run/pgpool",
        "pcp_listen_addresses": "",  # nothing here uses it
        "pcp_socket_dir": "/run/pgpool",
        "pid_file_name": "/run/pgpool/pgpool.pid",
        "logdir": "/run/pgpool",
        "work_dir": "/run/pgpool",
        "log_destination": "stderr",
        "enable_pool_hba": "on",
        "pool_passwd": PASSWORDS,
        "num_init_children": CLIENTS,  # see `_limit`
        "max_pool": 1,
        # A cached session whose server is gone costs the next client a second, because pgpool then sleeps.
        "connection_cache": "off",
        "connect_timeout": 500,  # ms; a silent server must cost less than the failover
        "load_balance_mode": "on",
        "statement_level_load_balance": "on",
        "disable_load_balance_on_write": "transaction",
        "check_temp_table": "trace",  # otherwise each new relation costs a query of the primary's catalogue
        "check_unlogged_table": "off",
        # If shared, a catalogue query holds a lock of all processes, and one whose server is aborted meanwhile keeps it
        # forever: seen after a cold start, every other session hung until pgpool was restarted.
        "enable_shared_relcache": "off",
        # With the servers. pgpool compares no names, but the authority signs for database nodes alone. The file is read
        # for each connection. For its clients, pgpool has no certificate: they are on this node. It warns that it has
        # none when it starts.
        "ssl": "on",
        "ssl_ca_cert": AUTHORITIES,
        "sr_check_period": 0,
        "health_check_period": 0,
        "failover_on_backend_error": "off",
        "failover_on_backend_shutdown": "off",
        "auto_failback": "off",
        "use_watchdog": "off",
        "memory_cache_enabled": "off",
        # Allocated even if the cache is off: 130 MB by default, cleared at each start.
        "memqcache_total_size": "1MB",
        "memqcache_max_num_cache": 100,
    }
    return "".join(f"{key} = '{value}'\n" for key, value in config.items()).encode()


def _limit(port: int) -> bytes:
    """Refuses clients for which pgpool has no process: they would wait in the listen queue forever, without an error.

    pgpool's own `reserved_connections` is not used: in 4.6.1 each refusal leaks a descriptor, and its count of clients
    drifts when a process dies, so that it refuses more and more clients. The kernel counts the open connections.
    """
    values = {"UNIT": UNIT, "TABLE": TABLE, "PORT": port, "CLIENTS": CLIENTS}
    return text_of(__package__, "pgpool-clients.nft", **values).encode()


def _limited(node: str) -> Object:
    return Object(
        f"limit of clients of {node}",
        Exec(("nft", "list", "chain", *TABLE.split(), "clients")),
        lambda answer: None if answer.ok else "the kernel does not refuse clients for whom pgpool has no process",
        (Exec(("nft", "-f", LIMIT)),),
    )


def _backend(number: int, host: str, port: int, weight: int, flag: str) -> dict[str, str | int]:
    values: dict[str, str | int] = {"hostname": host, "port": port, "weight": weight, "flag": flag}
    return {f"backend_{key}{number}": value for key, value in values.items()}
