"""Onhand's worker. `faust -A app worker` finds `app` here, built on first use.

Importing this package builds and starts nothing (PEP 562): the `onhand` command
imports its parts without paying for Faust.
"""

from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.wiring import build

        app = globals()["app"] = build()
        return app
    raise AttributeError(f"module 'app' has no attribute {name!r}")
