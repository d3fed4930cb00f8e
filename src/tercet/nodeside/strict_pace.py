"""The pace of tercet-strict, in a separate module so that a prediction can import it without psycopg.

Delivered together with strict.py (components/patroni/sentinel.py).
"""

from __future__ import annotations

LOOK_S = 0.25
HEARTBEAT_S = 1.0
SHORT_LOOKS = 6
# A standby answers each flush, and so each heartbeat: there are one or two of them in 8 polls. Polls are counted
# instead of seconds: on a machine that has no free CPU or was frozen, polls are late too, and a pause of this program
# must not count as silence of a standby. If a standby is only slow, writes are refused although they would only have
# had to wait.
SILENT_LOOKS = 8
