#!/bin/sh
# Starts the server with empty data. The folder itself stays, because it belongs to systemd's StateDirectory, which
# makes it again if it is gone. The server is not started on a part of its old data. Resetting a unit that has not
# failed fails, which is not an error here.
systemctl stop @UNIT@ || exit 1
[ ! -e @DATA@ ] || find @DATA@ -mindepth 1 -delete || exit 1
systemctl reset-failed @UNIT@
systemctl start @UNIT@
