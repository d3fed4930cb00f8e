#!/bin/sh
# Starts the server with empty data. The folder itself stays: systemd's StateDirectory owns it, and makes it anew where
# it is gone. A server that would start on half of its old data is not started. A unit that has not failed cannot be
# reset, which is no failure.
systemctl stop @UNIT@ || exit 1
[ ! -e @DATA@ ] || find @DATA@ -mindepth 1 -delete || exit 1
systemctl reset-failed @UNIT@
systemctl start @UNIT@
