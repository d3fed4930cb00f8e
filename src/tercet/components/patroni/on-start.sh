#!/bin/sh
# Run by Patroni when PostgreSQL has started as a member of a complete cluster. While Patroni creates a cluster, it does
# not run this until the cluster is recorded in dcs.
rm -f @CREATING@
