"""`tercet secrets rotate` on the running platform, while an application writes."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tercet.components.consul import tokens
from tercet.components.consul.declaration import AUTHORITY, GOSSIP
from tercet.components.nomad import tokens as nomad_tokens
from tercet.components.nomad.declaration import AUTHORITY as NOMAD_AUTHORITY
from tercet.components.nomad.declaration import GOSSIP_KEY as NOMAD_GOSSIP
from tercet.components.patroni.declaration import API_PASSWORD, APPLICATION_PASSWORD, SECOND_PASSWORD
from tercet.components.patroni.declaration import AUTHORITY as POSTGRES_AUTHORITY
from tercet.components.proxy.serving import PASSFILE
from tercet.inventory.authorities import replaced
from tercet.inventory.certificates import derived
from tercet.inventory.secrets import Secrets
from tercet.operations.rotate import rotatable
from tests.lab.conftest import AT_HOME, CURL, DCS, NOMAD, NOMAD_CURL, Lab, secrets_of, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

APPS, CONTROL = "apps-sib-01", "consul-nomad-sib-01"
# A new session for each row, with whichever of the application's logins is accepted. A line of /run/t-writer/failed is
# the time of a failure; of .../done, of a success.
WRITER = f"""
rm -rf /run/t-writer; mkdir /run/t-writer
cat > /run/t-writer/run.sh <<'END'
export PGPASSFILE={PASSFILE} PGCONNECT_TIMEOUT=5
insert() {{
  echo 'INSERT INTO rotated DEFAULT VALUES' |
    timeout 10 psql -XAtq -v ON_ERROR_STOP=1 -h localhost -U "$1" proposalsapp 2>> /run/t-writer/why
}}
while sleep 0.1; do
  if insert proposalsapp || insert proposalsapp_2; then
    date +%s.%N >> /run/t-writer/done
  else
    date +%s.%N >> /run/t-writer/failed
  fi
done
END
touch /run/t-writer/failed /run/t-writer/done
systemd-run --quiet --collect --unit=t-writer sh /run/t-writer/run.sh
"""


@contextmanager
def writing(lab: Lab) -> Iterator[None]:
    """Rows are written at APPS while the block runs, and for a second before and after it."""
    lab.on(APPS, WRITER)
    try:
        time.sleep(1)
        yield
        time.sleep(1)
    finally:
        lab.on(APPS, "systemctl stop t-writer")


def written(lab: Lab) -> tuple[int, list[float]]:
    """How many rows were written, and when it failed."""
    done = len(lab.on(APPS, "cat /run/t-writer/done").split())
    return done, [float(word) for word in lab.on(APPS, "cat /run/t-writer/failed").split()]


def sql(lab: Lab, node: str, statement: str) -> str:
    return lab.on(node, f'runuser -u postgres -- psql -XAtq proposalsapp -c "{statement}"').strip()


def accepted(lab: Lab, secrets: Secrets) -> set[str]:
    """What of Consul and Nomad answers with a token of these secrets."""
    management, nomad = tokens.management(secrets), nomad_tokens.management(secrets)
    calls = {
        "management of dc1": (CONTROL, management, f"{AT_HOME}/acl/tokens"),
        "management of dc2": ("consul-nomad-sib-03", management, f"{AT_HOME}/acl/tokens"),
        "management of dcs": (CONTROL, management, f"{DCS}/acl/tokens"),
        "node": (APPS, tokens.of_node(secrets, APPS), f"{DCS}/catalog/nodes"),
        "agent": (APPS, tokens.of_agent(secrets, APPS), f"{DCS}/agent/members"),
        "nomad": (CONTROL, nomad, f"{NOMAD}/acl/tokens"),
    }
    ask = "-s -o /dev/null -w '%{http_code}' -m 10 -H 'Authorization: Bearer"
    said = {
        name: lab.on(node, f"{NOMAD_CURL if name == 'nomad' else CURL} {ask} {token}' {url}")
        for name, (node, token, url) in calls.items()
    }
    assert set(said.values()) <= {"200", "403"}, said
    return {name for name, status in said.items() if status == "200"}


def logs_in(lab: Lab, secrets: Secrets) -> set[str]:
    """The application's logins that the proxies of all sites accept with the passwords of these secrets."""
    found = set()
    for name, password in (("proposalsapp", APPLICATION_PASSWORD), ("proposalsapp_2", SECOND_PASSWORD)):
        ask = f"PGPASSWORD='{secrets.password(password)}' psql -XAtq -h localhost -U {name} proposalsapp"
        sites = (f"apps-{site}" for site in ("sib-01", "sib-03", "fsn-01"))
        said = {lab.on(node, f"{ask} -c 'SELECT current_user' 2>&1 || true").strip() for node in sites}
        if said == {"proposalsapp"}:
            found.add(name)
        else:
            assert all("authentication failed" in line for line in said), said
    return found


def gossip_keys(lab: Lab) -> set[str]:
    """All keys in the keyrings of all agents, as they are on their disks."""
    files = "/var/lib/consul*/serf/*.keyring /var/lib/nomad/server/serf.keyring"
    nodes = [CONTROL, "consul-nomad-sib-03", "consul-nomad-fsn-01", APPS, "db-fsn-01"]
    return {
        key for node in nodes for key in re.findall(r"[\w+/]{43}=", lab.on(node, f"cat {files} 2>/dev/null || true"))
    }


# Calls a server of `dcs` with a certificate and its key: "refused", or "accepted" if the server waits for more.
CALL = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain(sys.argv[1])
with socket.create_connection(("consul-nomad-sib-01", 9300), 5) as plain:
    plain.sendall(bytes([3]))  # Consul's byte for a call with TLS
    with context.wrap_socket(plain) as secured:
        secured.settimeout(2)
        try:
            print("refused" if secured.recv(1) == b"" else "accepted")
        except TimeoutError:
            print("accepted")
        except OSError:
            print("refused")
"""


def certificate_is(lab: Lab, secrets: Secrets) -> str:
    """What the server makes of a certificate that the authority of these secrets signed."""
    pair = derived([f"{APPS}.consul"], secrets.pair(AUTHORITY))
    made = f"umask 077; cat > /run/t-node.pem <<'END'\n{pair.certificate}{pair.key}END\n"
    try:
        return lab.on(APPS, f"{made}python3 -c {shlex.quote(CALL)} /run/t-node.pem").strip()
    finally:
        lab.on(APPS, "rm -f /run/t-node.pem")


def asked_with(lab: Lab, node: str, server: str, secrets: Secrets) -> str:
    """What a client on the node that trusts the authority of these secrets says of PostgreSQL on `server`."""
    trusted = secrets.pair(POSTGRES_AUTHORITY).certificate
    where = f"host={server} user=rewinder dbname=postgres sslmode=verify-full sslrootcert=/run/t-ca.pem"
    return lab.on(node, f"cat > /run/t-ca.pem <<'END'\n{trusted}END\npsql -w '{where}' 2>&1; rm /run/t-ca.pem")


def test_the_platforms_own_secrets_are_replaced_without_a_failed_write(platform_lab: Lab, tmp_path: Path) -> None:
    names, authorities = rotatable(), {"consul_ca", "nomad_ca", "postgres_ca"}
    primary = platform_lab.primary()
    standby = next(name for name in ("db-sib-03", "db-fsn-01") if name != primary)
    sql(
        platform_lab,
        primary,
        "DROP TABLE IF EXISTS rotated; CREATE TABLE rotated (id serial); ALTER TABLE rotated OWNER TO proposalsapp",
    )
    file = platform_lab.file.with_name("tercet.secrets.yml")
    old = secrets_of(platform_lab)
    shutil.copy2(file, tmp_path)

    with writing(platform_lab):
        # Broken off when the new secrets are in the file, and accepted, but nowhere in use.
        with platform_lab.running("secrets", "rotate", *names) as run:
            assert run.until(lambda event: event["phase"] == "fingerprint"), run.end()
        begun = secrets_of(platform_lab)
        changed = {name for name in old.texts if begun.texts[name] != old.texts[name]}
        assert changed == set(names) - authorities - {SECOND_PASSWORD.name}
        assert set(replaced(begun)) == authorities
        assert set(platform_lab.json("secrets", "rotate", *names)["rotated"]) == set(names)
    new = secrets_of(platform_lab)
    assert all(new.texts[name] == begun.texts[name] for name in changed), "it continues"
    assert new.password(SECOND_PASSWORD) != old.password(SECOND_PASSWORD)
    assert all(new.pair(each) != old.pair(each) for each in (AUTHORITY, NOMAD_AUTHORITY, POSTGRES_AUTHORITY))
    assert not replaced(new)
    rows, failures = written(platform_lab)
    assert rows > 20 and not failures, platform_lab.on(APPS, "cat /run/t-writer/why")

    assert platform_lab.plan()["empty"]
    sql(platform_lab, standby, "SELECT pg_terminate_backend(pid) FROM pg_stat_wal_receiver")
    receiving = "SELECT status FROM pg_stat_wal_receiver"
    wait_until("it streams again", lambda: sql(platform_lab, standby, receiving) == "streaming", timeout=30)
    for secrets, right in ((old, ["401"]), (new, ["200", "202"])):
        ask = f"curl -s -o /dev/null -w '%{{http_code}}' -m 5 -u patroni:{secrets.password(API_PASSWORD)} -X POST"
        tls = "--cacert /etc/postgresql-tls/ca.pem --cert /etc/postgresql-tls/node.pem"
        assert platform_lab.on(standby, f"{ask} {tls} https://{standby}:8008/reload").strip() in right
    assert [logs_in(platform_lab, each) for each in (old, new)] == [set(), {"proposalsapp", "proposalsapp_2"}]
    assert accepted(platform_lab, old) == set() and len(accepted(platform_lab, new)) == 6
    assert gossip_keys(platform_lab) == {new.derived_key(GOSSIP), new.derived_key(NOMAD_GOSSIP)}
    assert [certificate_is(platform_lab, each) for each in (old, new)] == ["refused", "accepted"]
    for secrets, expected in ((old, "certificate verify failed"), (new, "no password supplied")):
        assert expected in asked_with(platform_lab, standby, primary, secrets)
    platform_lab.call("verify")

    current = tmp_path / "new.yml"
    shutil.move(file, current)
    shutil.copy2(tmp_path / file.name, file)
    try:
        assert "found others in root@" in platform_lab.call("apply", expect=1).stderr
    finally:
        shutil.move(current, file)
