#!/bin/sh
# What a job does to its node. Prints a line for each thing that it reaches. Arguments: ports of APIs on the loopback.
echo started
for port in "$@"; do
  # shellcheck disable=SC2016 # bash expands it
  bash -c '(: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null' bash "$port" && echo "port $port"
done
for file in /etc/tercet/*.pgpass /etc/consul-tokens.json /etc/nomad-tls/node.pem; do
  [ -r "$file" ] && echo "$file"
done
kill -0 1 2> /dev/null && echo 'a process of root'
exit 0
