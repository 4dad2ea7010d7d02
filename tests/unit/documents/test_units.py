"""The unit files leave a process nothing that it does not need, in words that systemd knows.

systemd itself judges them where `systemd-analyze` is installed, without running anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.deploying.units import UNITS, told

ANALYZE = shutil.which("systemd-analyze")
#: Its verdict in tenths: 100 is no confinement at all, below 20 is what it calls ok.
MOST_EXPOSED = 20
#: The first systemd that judges a file by itself.
LEAST_SYSTEMD = 250


def analyzed(*arguments: str | Path) -> str:
    """What systemd-analyze says; skips where it is too old, or not there."""
    if ANALYZE is None:
        pytest.skip("systemd-analyze is not installed here.")
    version = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, timeout=60)
    number = re.match(r"systemd ([0-9]+)", version.stdout)
    if number is None or int(number[1]) < LEAST_SYSTEMD:
        pytest.skip("This systemd-analyze judges only units that are installed.")
    ran = subprocess.run(
        [ANALYZE, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    return f"{ran.returncode}\n{ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_gives_no_rights_and_nothing_to_write_but_its_own_folder(unit: Path) -> None:
    said = told(unit)

    assert said["User"] == ["onhand"]
    assert said["CapabilityBoundingSet"] == [""]
    assert said["ProtectSystem"] == ["strict"]
    assert "ReadWritePaths" not in said
    (folder,) = said["StateDirectory"]
    assert f"ONHAND_DATA_DIR=%S/{folder} " in said["Environment"][0]
    for name in ("NoNewPrivileges", "PrivateDevices", "PrivateTmp", "PrivateUsers", "ProtectHome"):
        assert said[name] == ["yes"]


def test_all_units_are_confined_alike() -> None:
    # From the first line of it on; before, each says what it runs.
    ends = {unit.read_text().partition("\nNoNewPrivileges=")[2] for unit in UNITS}

    assert len(ends) == 1
    assert ends != {""}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_calls_a_unit_well_confined(unit: Path) -> None:
    said = analyzed("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert said.startswith("0\n"), said


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_knows_every_word_of_a_unit(unit: Path, tmp_path: Path) -> None:
    # What it would start is not installed where tests run.
    text = re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text)

    said = analyzed("verify", "--man=no", "--recursive-errors=no", copy)

    assert unit.name not in said.replace(str(copy), ""), said
    assert "nknown" not in said


def test_what_systemd_does_not_know_would_be_found(tmp_path: Path) -> None:
    unit = tmp_path / "spoilt@.service"
    unit.write_text(UNITS[0].read_text().replace("NoNewPrivileges", "NoNewPriviliges"))

    said = analyzed("verify", "--man=no", "--recursive-errors=no", unit)

    assert "nknown" in said
