#!/bin/sh
# Stops the server of dcs. What is left of an old Raft is kept under a name with the time.
systemctl stop @UNIT@ || exit 1
cd @DATA@ && [ -d raft ] || exit 0
mv raft "raft.aside-$(date -u +%Y%m%dT%H%M%SZ)"
