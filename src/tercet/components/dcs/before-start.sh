#!/bin/sh
# Moves the permission to create the Raft of dcs, if there is one, to a place where it is lost together with the Raft.
set -e
cd @DATA@
[ -d raft ] || rm -rf @BESIDE@
mkdir -p raft @BESIDE@
chown --reference=. raft @BESIDE@
[ ! -e @PERMISSION@ ] || mv @PERMISSION@ @BESIDE@/
