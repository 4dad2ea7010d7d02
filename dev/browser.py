"""A Chromium that is on the machine, driven by Playwright: for tests and for `make screenshots`."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: For root there is no sandbox. The others keep it from talking to anybody but the worker.
FLAGS = (
    *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)
#: On a machine on which all cores are busy each step may take so long.
PATIENCE_MS = 60_000


class NoChromium(Exception):
    """There is none here; says how to get one."""


def chromium() -> str:
    """Its path.

    Raises:
        NoChromium: there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = [path for name in ([named] if named else NAMES) if (path := shutil.which(name))]
    if not found:
        raise NoChromium(
            "There is no Chromium here: install it (Debian: `apt install chromium`), or set "
            "CHROMIUM to its path."
        )
    return found[0]


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """Started, and ended whatever happens.

    Raises:
        NoChromium: there is none.
    """
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=list(FLAGS), timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            await browser.close()
