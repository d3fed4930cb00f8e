#!/bin/bash
# Kills or freezes containers, each with a healer whose own words say what it is for and when it acts.
# Arguments: platform, "kill" or "freeze", seconds, older healers that end once the new ones are there, then VMIDs.
platform=$1 kind=$2 seconds=$3 older=$4; shift 4
end=$(awk -v s="$seconds" '{ printf "%.1f", $1 + s }' /proc/uptime)
# shellcheck disable=SC2016  # $3 is the healer's
case $kind in kill) remedy='pct start "$3"' ;; freeze) remedy='lxc-unfreeze --name "$3"' ;; esac
for id; do
    setsid bash -c "sleep \"\$4\"; exec $remedy" tercet-healer "$platform" "$kind" "$id" "$seconds" "$end" \
        </dev/null >/dev/null 2>&1 &
done
for pid in $older; do kill -- "-$pid"; done
if [ "$kind" = freeze ]; then
    for id; do lxc-freeze --name "$id" || exit 1; done
    exit 0
fi
for id; do ip link set dev "veth${id}i0" down; done
killing=
for id; do lxc-stop --kill --name "$id" & killing="$killing $!"; done
for job in $killing; do wait "$job" || exit 1; done
