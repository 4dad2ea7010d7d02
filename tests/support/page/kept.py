"""Workers of paper for the demo's panel: killed by a word, and back when the test says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dev.demo.keeper import NotNow
from dev.demo.meter import Balance


@dataclass
class PaperKeeper:
    """urls: of those that are asked, in order. killed: every name, as it was given.

    refusal: if set, nobody is killed. balance: what the meter says.
    """

    urls: list[str]
    is_open: bool = True
    refusal: str = ""
    killed: list[str] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    balance: Balance = field(default_factory=lambda: Balance(12_345, 0, 11_800, 370, 5, 170))

    def reading(self) -> Balance:
        return self.balance

    def told(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "url": f"http://127.0.0.1:{6066 + n}",
                "pid": 4711 + n,
                "state": "dead" if name in self.dead else "answers",
                "kills": self.killed.count(name),
                "back_in_s": 12.4 if name in self.dead else None,
            }
            for n, name in enumerate("ab")
        ]

    def kill(self, name: str) -> None:
        if name not in "ab":
            raise KeyError(name)
        if self.refusal:
            raise NotNow(self.refusal)
        self.killed.append(name)
        self.dead.add(name)
