#!/bin/sh
# Run by Consul Template after it has written @RENDERED@.
sha256sum @RENDERED@ > @RECORD@.new && mv @RECORD@.new @RECORD@
# No reload by systemd: a failover renders five times within a second, and each reload takes 0.1 s of a core.
# Where nobody runs there is nobody to tell: who starts reads the file.
if [ -e @PID_FILE@ ]; then read -r pid < @PID_FILE@ && kill -HUP "$pid"; fi
