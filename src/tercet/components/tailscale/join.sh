#!/bin/sh
# Logs the node in with the key on standard input. Arguments: options of `tailscale up`.
# If tailscaled gets no answer, it is started anew and asked once more. (Seen: no map of the network for 80 s, after a
# login that was broken off.) Until then the node is not in the tailnet, so the restart disturbs nobody.
key=$(cat)
join() {
  until [ -S @SOCKET@ ]; do sleep 0.05; done
  # With a tailscaled that is suspended, the program's own timeout does not count.
  echo "$key" | timeout @KILL_S@ @TAILSCALE@ up --reset --auth-key=file:/dev/stdin --timeout=@TIMEOUT_S@s "$@"
}
join "$@" || { systemctl restart @UNIT@ && join "$@"; }
