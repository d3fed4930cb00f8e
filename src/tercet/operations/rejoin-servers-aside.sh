#!/bin/sh
# Moves aside what the servers of a site remember. A server of Consul that was away for a week refuses to start; what it
# remembers for that goes aside as well. That of the site's own datacenter keeps its Raft: no other server is in it.
now=$(date -u +%Y%m%dT%H%M%SZ)
aside() {
  cd "$1" 2>/dev/null || return 0
  shift
  for each in "$@"; do [ ! -e "$each" ] || mv "$each" "$each.aside-$now" || exit 1; done
}
aside @DCS@ raft serf server_metadata.json
aside @NOMAD@ raft serf
aside @CONSUL@ server_metadata.json
