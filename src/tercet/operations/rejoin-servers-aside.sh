#!/bin/sh
# Moves the old data of a site's servers aside. A Consul server that was away for a week refuses to start; the data that
# causes this is moved aside, too. The server of the site's own datacenter keeps its Raft, because it has no other
# server.
now=$(date -u +%Y%m%dT%H%M%SZ)
aside() {
  cd "$1" 2>/dev/null || return 0
  shift
  for each in "$@"; do [ ! -e "$each" ] || mv "$each" "$each.aside-$now" || exit 1; done
}
aside @DCS@ raft serf server_metadata.json
aside @NOMAD@ raft serf
aside @CONSUL@ server_metadata.json
