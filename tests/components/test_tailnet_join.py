"""The script that logs a node in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tercet.components.tailscale.component import JOIN, SOCKET, TAILSCALE, UNIT

# Notes each call with its standard input; the first calls fail, as many as the file `fail` has lines.
TAILSCALE_UP = """#!/bin/sh
echo "$* <$(cat)>" >> {folder}/calls
[ "$(wc -l < {folder}/calls)" -gt "$(wc -l < {folder}/fail)" ]
"""


@pytest.mark.parametrize(("failures", "status"), [(0, 0), (1, 0), (2, 1)])
def test_a_login_that_gets_no_answer_is_tried_once_more_with_a_new_daemon(
    tmp_path: Path, failures: int, status: int
) -> None:
    tools = {"tailscale": TAILSCALE_UP, "systemctl": '#!/bin/sh\necho "$*" >> {folder}/restarts\n'}
    for name, text in tools.items():
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "fail").write_text("\n" * failures)
    script = JOIN.replace(TAILSCALE, f"{tmp_path}/tailscale").replace(f"-S {SOCKET}", f"-d {tmp_path}")
    done = subprocess.run(
        ["sh", "-c", script, "sh", "--hostname=a b"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        input=b"the key",
        timeout=10,
        check=False,
    )
    assert done.returncode == status
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["up --reset --auth-key=file:/dev/stdin --timeout=20s --hostname=a b <the key>"] * min(
        failures + 1, 2
    )
    restarts = (tmp_path / "restarts").read_text().splitlines() if failures else []
    assert restarts == [f"restart {UNIT}"] * min(failures, 1)
