#!/bin/sh
# Run by Patroni when it has created the cluster: removes the permission, also from Patroni's memory.
rm -f @BOOTSTRAP@ && kill -HUP "$PPID"
