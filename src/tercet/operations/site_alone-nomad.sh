#!/bin/sh
# Makes this server the only member of Nomad's Raft. Argument: the port of Nomad's RPC. This is Nomad's own way to
# recover from the loss of its quorum: a server that finds peers.json when it starts takes these peers as the members of
# its Raft. It applies everything in its log, confirmed or not. The Raft is copied first.
systemctl stop @UNIT@ || exit 1
cd @SERVER@ || exit 1
[ -s raft/raft.db ] || { echo "it has no Raft in @SERVER@: its jobs are lost" >&2; exit 1; }
id=$(cat node-id) || exit 1
address=$(ip -4 -o address show dev @INTERFACE@ | awk '{ sub("/.*", "", $4); print $4; exit }')
[ -n "$id" ] && [ -n "$address" ] || { echo "it has no id or no address in the tailnet" >&2; exit 1; }
cp -a raft "raft.aside-$(date -u +%Y%m%dT%H%M%SZ)" || exit 1
printf '[{"id": "%s", "address": "%s:%s", "non_voter": false}]\n' "$id" "$address" "$1" > raft/peers.new || exit 1
sync raft/peers.new && mv raft/peers.new raft/peers.json || exit 1
systemctl reset-failed @UNIT@ 2>/dev/null
systemctl start @UNIT@
