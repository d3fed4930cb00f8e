#!/bin/sh
# Takes the permission to create the Raft of dcs, where there is one, to where it is lost together with the Raft.
set -e
cd @DATA@
[ -d raft ] || rm -rf @BESIDE@
mkdir -p raft @BESIDE@
[ ! -e @PERMISSION@ ] || mv @PERMISSION@ @BESIDE@/
