#!/bin/sh
# Ends a fault when its time is over, in the background.
# Arguments: its control group, the kind of fault, when it ends on the monotonic clock, seconds; then the remedy.
echo 0 > "$1/cgroup.procs" || exit 1
{ sleep "$4"; shift 4; exec "$@"; } </dev/null >/dev/null 2>&1 &
