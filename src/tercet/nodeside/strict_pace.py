"""The pace of tercet-strict, apart from the program so that a prediction has it without psycopg.

Delivered beside strict.py (components/patroni/sentinel.py).
"""

from __future__ import annotations

LOOK_S = 0.25
HEARTBEAT_S = 1.0
SHORT_LOOKS = 6
# A standby answers each flush, so each heartbeat: 8 looks hold one or two of them. Looks are counted, not seconds:
# on a machine that is starved, or was frozen, looks are late too, and a pause of this program is no standby's silence.
# If a standby is merely that slow, all it costs is an earlier refusal: a commit would have waited for it as long.
SILENT_LOOKS = 8
