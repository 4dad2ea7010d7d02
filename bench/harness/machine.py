"""What the figures were measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

#: This checkout.
REPO = Path(__file__).resolve().parents[2]


def describe() -> dict[str, str]:
    """Date, processor, memory, versions; nothing that names this particular machine."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit_of(REPO)[:7] or "none",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "java": _java(),
        "faust-streaming": version("faust-streaming"),
        "aiokafka": version("aiokafka"),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _java() -> str:
    lines = _said("java", "-version").splitlines()
    return lines[0] if lines else "none"


def commit_of(tree: Path) -> str:
    """What a checkout stands at; empty where git does not say."""
    return _said("git", "-C", str(tree), "rev-parse", "HEAD")


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""
