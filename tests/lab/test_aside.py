"""Nothing of a database is deleted by itself: data that cannot be rewound is moved aside, kept, and shown."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import Lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

# Promoted by hand beside the cluster it writes what nobody else has, as an old primary does that was cut off. With
# `unrewindable` it then loses the WAL from before the divergence, without which pg_rewind finds no common checkpoint.
DIVERGE = """
set -e
data=/var/lib/postgresql/17/tercet bin=/usr/lib/postgresql/17/bin
postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
systemctl stop patroni tercet-watchdog  # which fences a primary without a Patroni
cd /tmp
alone="-c listen_addresses= -c unix_socket_directories=/tmp -c synchronous_standby_names= -c primary_conninfo="
postgres $bin/pg_ctl -D $data -w -s -l /tmp/diverge.log -o "$alone" start
postgres $bin/pg_ctl -D $data -w -s promote
postgres $bin/psql -XAtq -h /tmp -d postgres -c "SET default_transaction_read_only = off" \
  -c "CREATE TABLE only_here AS SELECT generate_series(1, 1000) AS n" -c "SELECT pg_switch_wal()" -c CHECKPOINT
postgres $bin/pg_ctl -D $data -w -s -m fast stop
timeline=$(postgres $bin/pg_controldata -D $data | sed -n "s/^Latest checkpoint's TimeLineID: *//p")
if [ "$1" = unrewindable ]; then
  for segment in $data/pg_wal/????????????????????????; do
    case $segment in */$(printf %08X $timeline)*) ;; *) rm $segment ;; esac
  done
fi
touch $data/the-diverged-one
if [ "$1" = half ]; then
  # What pg_rewind left when its source was cut off: files that it had emptied to write them again.
  echo $(stat -c %i $data) boot $(sha256sum < $data/global/pg_control | cut -c -64) > $data.rewinding
  chown postgres: $data.rewinding
  for file in $data/postgresql.auto.conf $data/postgresql.base.conf $data/pg_wal/$(printf %08X $timeline)*; do
    : > $file
  done
  postgres /usr/lib/tercet/postgres -D $data 2>&1 || echo "refused: $?"
fi
systemctl start --no-block patroni tercet-watchdog
"""
PLACE = "/var/lib/postgresql/17"


def streams(lab: Lab, node: str) -> bool:
    members = lab.status()["postgres"]["members"]
    return any(member["node"] == node and member["state"] == "streaming" for member in members)


def standby(lab: Lab) -> str:
    return str(next(m["node"] for m in lab.status()["postgres"]["members"] if m["role"] == "standby"))


def reasons(lab: Lab) -> list[str]:
    """Why data was moved aside."""
    return [each["reason"] for each in lab.json("aside", "list")]


def diverge(lab: Lab, node: str, how: str) -> str:
    return lab.call("exec", node, "--", "sh", "-c", DIVERGE, "sh", how).stdout


# pg_rewind needs the last checkpoint before the divergence. From here on that lies in an earlier segment: the one in
# which the timelines part is copied to the new timeline, and so survives.
NEW_SEGMENT = """
cd /tmp; setpriv --reuid=postgres --regid=postgres --clear-groups \\
  /usr/lib/postgresql/17/bin/psql -XAtq -c CHECKPOINT -c "SELECT pg_switch_wal()"
"""


def test_data_that_cannot_be_rewound_is_moved_aside_and_the_node_streams_again(platform_lab: Lab) -> None:
    lab = platform_lab
    node = standby(lab)
    assert lab.json("aside", "list") == []
    lab.on(lab.primary(), NEW_SEGMENT)
    diverge(lab, node, "unrewindable")
    wait_until("its data is moved aside", lambda: lab.status()["aside"] != [], 120)
    wait_until(f"{node} streams again", lambda: streams(lab, node), 180)

    [kept] = lab.json("aside", "list")
    assert kept["node"] == node and re.fullmatch(r"tercet\.aside-\d{8}T\d{6}Z-timeline-\d+", kept["name"])
    assert "could not find previous WAL record" in kept["reason"]
    assert kept["bytes"] > 10_000_000
    assert {"the-diverged-one", "PG_VERSION"} <= set(lab.on(node, f"ls {kept['path']}").split()), "all of it is there"
    assert "the-diverged-one" not in lab.on(node, f"ls {PLACE}/tercet"), "the database is a clone"
    assert kept["name"] in lab.call("status", expect=None).stdout
    lab.wait_until_healthy(120)
    assert lab.plan()["empty"]

    # The timer's own look leaves alone what is young, on a disk with room.
    lab.on(node, "systemctl start tercet-aside.service")
    assert lab.json("aside", "list") == [kept]

    refused = lab.call("aside", "remove", node, "tercet", expect=1)
    assert f"expected one of {kept['name']}" in refused.stderr
    refused = lab.call("aside", "remove", node, kept["name"], expect=1)
    assert "no terminal to ask on. Add --yes" in refused.stderr
    assert lab.json("aside", "list") == [kept]
    lab.call("aside", "remove", node, kept["name"], "--yes")
    assert lab.json("aside", "list") == [] == lab.status()["aside"]
    assert lab.on(node, f"ls {PLACE}").split() == ["reserve", "tercet"]


def test_data_that_can_be_rewound_is_rewound(platform_lab: Lab) -> None:
    node = standby(platform_lab)
    diverge(platform_lab, node, "rewindable")
    wait_until(f"{node} streams again", lambda: streams(platform_lab, node), 180)
    assert reasons(platform_lab) == []
    assert platform_lab.on(node, f"ls {PLACE}").split() == ["reserve", "tercet"]
    platform_lab.wait_until_healthy(120)


def test_no_server_starts_on_data_that_a_rewind_left_half_written(platform_lab: Lab) -> None:
    """Seen when the source of a rewind was cut off: Patroni started a standby that waited for WAL forever."""
    lab = platform_lab
    node = standby(lab)
    assert "a rewind left the data half-written" in diverge(lab, node, "half")
    wait_until(f"{node} streams again", lambda: streams(lab, node), 180)
    [kept] = lab.json("aside", "list")
    assert "the-diverged-one" in lab.on(node, f"ls {kept['path']}")
    lab.call("aside", "remove", node, kept["name"], "--yes")
    assert lab.on(node, f"ls {PLACE}").split() == ["reserve", "tercet"]
    lab.wait_until_healthy(120)


def test_a_diverged_node_is_rewound_from_a_primary_that_is_read_only(platform_lab: Lab) -> None:
    """Patroni takes a read-only primary for none: no standby would come, and it would stay read-only forever."""
    lab = platform_lab
    first, second = (m["node"] for m in lab.status()["postgres"]["members"] if m["role"] == "standby")
    lab.on(first, "systemctl stop patroni")
    try:
        diverge(lab, second, "rewindable")
        wait_until(f"{second} streams", lambda: streams(lab, second), 180)
        wait_until("writes are accepted", lambda: lab.status()["postgres"]["writable"], 60)
    finally:
        lab.on(first, "systemctl start patroni")
    lab.wait_until_healthy(120)
    assert reasons(lab) == []


# A port that nobody reaches while pg_rewind runs: what it says is no proof against the data.
def test_a_source_that_is_away_moves_nothing(platform_lab: Lab) -> None:
    """pg_rewind as Patroni calls it, on a data directory that cannot be rewound, while nobody answers."""
    node = standby(platform_lab)
    script = """
    cd /tmp; rm -rf copy; mkdir -m 700 copy; chown postgres copy
    setpriv --reuid=postgres --regid=postgres --clear-groups sh -c '
      echo 17 > copy/PG_VERSION
      /usr/lib/tercet/pg_rewind -D /tmp/copy --source-server "host=/tmp port=1 dbname=postgres"' 2>&1
    echo "status $?"; ls -d copy*; rm -r copy
    """
    said = platform_lab.on(node, script)
    assert "has not answered for 10 s: the data stays as it is" in said
    assert "status 1\ncopy\n" in said


def test_a_renamed_site_loses_its_database_only_on_demand(platform_lab: Lab) -> None:
    """Seen before: `apply` deleted the container with the database in it."""
    lab = platform_lab
    before = lab.file.read_text(encoding="utf-8")
    lab.file.write_text(before.replace("fsn-01", "fsn-09"), encoding="utf-8")
    try:
        plan = lab.plan()
        assert plan["destructions"] == ["db-fsn-01"]
        assert "databases destroyed" in lab.call("plan", expect=2).stdout
        for command in ("apply", "up"):
            refused = lab.call(command, expect=1)
            assert "--destroy db-fsn-01" in refused.stderr and "Nothing was changed" in refused.stderr
    finally:
        lab.file.write_text(before, encoding="utf-8")
    name = lab.status()["platform"]
    lab.file.write_text(before.replace(f"platform: {name}", "platform: t-renamed"), encoding="utf-8")
    try:
        refused = lab.call("up", expect=1)
        assert f"expected `platform: {name}`" in refused.stderr and "db-fsn-01" in refused.stderr
    finally:
        lab.file.write_text(before, encoding="utf-8")
    assert lab.plan()["empty"]
    lab.wait_until_healthy()
