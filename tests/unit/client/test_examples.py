"""The examples of the client's README run as they are written."""

import asyncio
import json
import re
import subprocess
import sys

import pytest

from dev.workers import ROOT
from tests.unit.client.serving import a_shop

README = (ROOT / "clients/python/README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SAYS = {
    "reads": ["24 active 0", "24 [24] [('TEA-2', 'store-001')]", "TEA-1 store-002 3"],
    "sessions": ["23", "23"],
    "writes": ["True"],
}


@pytest.mark.parametrize(("example", "name"), [*zip(EXAMPLES, SAYS, strict=True)], ids=list(SAYS))
async def test_an_example_runs_and_says_what_it_should(example: str, name: str) -> None:
    async with a_shop(2, count=4, rows=0) as shop:
        shop.put("TEA-1", "store-001", received=24)
        shop.put("TEA-1", "store-002", received=3)
        shop.counts_at_once("TEA-1", "store-001", 24)
        for port, url in zip((6066, 6067), shop.urls, strict=True):
            example = example.replace(f"http://localhost:{port}", url)

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", example, stdout=subprocess.PIPE
        )
        told, _ = await asyncio.wait_for(process.communicate(), 60)

        assert process.returncode == 0
        lines = told.decode().splitlines()
        assert len(lines) == len(SAYS[name])
        assert all(map(str.startswith, lines, SAYS[name]))
        if name == "writes":
            assert len(shop.log.records) == 2499
            assert all(
                json.loads(record.value)["source"] == "dock-1" for record in shop.log.records
            )


async def test_an_example_has_about_ten_lines() -> None:
    assert [len(example.splitlines()) <= 14 for example in EXAMPLES] == [True] * 3
