#!/bin/sh
# Run by Consul Template after it has written @RENDERED@.
sha256sum @RENDERED@ > @RECORD@.new && mv @RECORD@.new @RECORD@
# systemd's reload is not used: a failover renders five times within a second, and each reload takes 0.1 s of a core.
# If the process does not run, no signal is needed: it reads the file when it starts.
if [ -e @PID_FILE@ ]; then read -r pid < @PID_FILE@ && kill -HUP "$pid"; fi
