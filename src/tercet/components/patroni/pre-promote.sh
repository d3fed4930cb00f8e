#!/bin/bash
# Run by Patroni before it promotes a standby. Asks tercet-follow.service (nodeside/votes.py), which answers within 4 s.
# Bash connects by itself, without a program that would have to start while everybody waits.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  if { exec 3<> /dev/tcp/127.0.0.1/@PORT@; } 2> /dev/null; then
    read -r -t 5 verdict <&3
    echo "${verdict:-not promoted: tercet-follow.service does not answer}"
    [ "$verdict" = promote ]
    exit
  fi
  sleep 0.2 # systemd starts it again after 0.5 s
done
echo "not promoted: tercet-follow.service is down"
exit 1
