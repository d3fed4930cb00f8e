#!/bin/sh
# Run by Patroni once it has created the cluster: the permission is used up, also in Patroni's memory.
rm -f @BOOTSTRAP@ && kill -HUP "$PPID"
