from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise

import pytest

from tercet.image.debian_version import order

ASCENDING = (
    *("0~~", "0~~a", "0~", "0", "0.1~rc1-1", "0.1-0", "0.1-1", "0.1-1+b1", "0.1-1+deb13u1", "0.1-1+deb13u10"),
    *("1.0", "1.0a", "1.0+dfsg", "1.0.1", "1.9-1", "1.10-1", "17.12-0+deb13u1", "1:0.1", "1:1.3.dfsg+really1.3.1-1"),
    *("1:1.3.dfsg+really1.3.1-1+deb13u1", "2:0"),
)


@pytest.mark.parametrize(("earlier", "later"), list(pairwise(ASCENDING)))
def test_versions_are_in_debians_order(earlier: str, later: str) -> None:
    assert order(earlier) < order(later)


def test_equal_versions_may_be_written_differently() -> None:
    assert order("1.0") == order("0:1.0-0") == order("1.00-00")


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg, which knows the order")
@pytest.mark.parametrize(("earlier", "later"), list(pairwise(ASCENDING)))
def test_dpkg_says_the_same(earlier: str, later: str) -> None:
    subprocess.run(["dpkg", "--compare-versions", earlier, "lt", later], check=True, timeout=10)
