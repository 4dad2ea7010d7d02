"""What a unit file of systemd says."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from dev.workers import ROOT

UNITS = sorted((ROOT / "deploy").glob("*.service"))


def told(unit: Path) -> dict[str, list[str]]:
    """Values by setting, of the section that says how it runs."""
    found: dict[str, list[str]] = defaultdict(list)
    section = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found[name].append(value)
    return found
