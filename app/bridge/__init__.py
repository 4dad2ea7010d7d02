"""The bridge. `faust -A app.bridge worker` finds `app` here, built on first use (PEP 562)."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.bridge.wiring import build_bridge

        app = globals()["app"] = build_bridge()
        return app
    raise AttributeError(f"module 'app.bridge' has no attribute {name!r}")
