"""What helm makes of the chart; `python -m tests.support.deploying.chart` keeps it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from dev.workers import ROOT

CHART, KEPT = ROOT / "deploy/chart", ROOT / "tests/golden/chart"
#: As its own values are, and with everything on that they offer.
KINDS = ("plain", "full")
HELM = os.environ.get("HELM") or shutil.which("helm")
#: Any that the chart is for: without a cluster, helm has to be told.
_KUBERNETES = "1.31.0"


def kept_at(kind: str) -> Path:
    """The file with what was rendered; its first line is the digest."""
    return KEPT / f"{kind}.yaml"


def digest(kind: str) -> str:
    """Of all that the rendering depends on."""
    files = [path for path in sorted(CHART.rglob("*")) if path.is_file()]
    if kind == "full":
        files.append(KEPT / "full-values.yaml")
    parts = [path.relative_to(ROOT).as_posix().encode() + path.read_bytes() for path in files]
    return "sha256 " + hashlib.sha256(b"\0".join(parts)).hexdigest()


def rendered(kind: str, *more: str) -> str:
    """By the helm of this machine; `more`: arguments.

    Raises:
        CalledProcessError: it refuses.
    """
    assert HELM is not None
    command = [HELM, "template", "stock", str(CHART), "--kube-version", _KUBERNETES]
    if kind == "full":
        command += ["--values", str(KEPT / "full-values.yaml")]
    command += more
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def main() -> None:
    """Render both kinds again."""
    for kind in KINDS:
        lines = [f"# {digest(kind)}", *rendered(kind).splitlines()]
        kept_at(kind).write_text("\n".join(line.rstrip() for line in lines) + "\n")


if __name__ == "__main__":
    main()
