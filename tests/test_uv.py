"""What `make` downloads for Python is known beforehand: uv by digest, every package and build tool by uv.lock."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = ROOT / "scripts" / "uv.txt"


def recipe(target: str) -> str:
    """The commands of a target, as make would run them."""
    argv = ["make", "--dry-run", "--always-make", "UV=.tools/bin/uv", target]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout


def test_uv_is_installed_by_digest() -> None:
    (install,) = [line for line in recipe(".tools/bin/uv").splitlines() if "pip install" in line]
    assert "--require-hashes" in install and f"--requirement {UV.relative_to(ROOT)}" in install
    wanted = " ".join(line for line in UV.read_text().splitlines() if not line.startswith("#")).replace("\\", " ")
    name, *digests = wanted.split()
    assert re.fullmatch(r"uv==[\d.]+", name)
    assert digests and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest) for digest in digests)


def test_tercet_is_built_with_the_tools_of_the_lock() -> None:
    """In an environment of its own, uv would take the newest hatchling, without a digest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    tools = {re.split(r"[<>=~! ]", each)[0] for each in project["build-system"]["requires"]}
    assert tools <= locked
    assert project["tool"]["uv"]["no-build-isolation-package"] == ["tercet"]
