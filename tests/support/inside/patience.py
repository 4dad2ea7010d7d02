"""How long one worker waits for another, set by a test: a slow machine must not decide it."""

import pytest

from web.cluster import asking
from web.reads import relay
from web.reads.lists import _ListSearch
from web.reads.lookups import _LookupSearch


def hedge_after(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Whoever is slow is passed over after so long, in reads of all kinds."""
    _be_patient(patch, hedge_s=seconds)
    patch.setattr(relay, "_STALE_S", seconds + 1.0)


def never_late(patch: pytest.MonkeyPatch) -> None:
    """No read is given up: it ends by an answer, or the test does."""
    _be_patient(patch, deadline_s=3600.0)


def _be_patient(patch: pytest.MonkeyPatch, **seconds: float) -> None:
    for module in (asking, relay):
        patch.setattr(module, "KEY_PATIENCE", module.KEY_PATIENCE._replace(**seconds))
    for search in (_ListSearch, _LookupSearch):
        patch.setattr(search, "patience", search.patience._replace(**seconds))
