"""Unit tests may run on a machine that does much else: slow is not wrong.

Few examples each, so that all of them end within half a minute; `make torture` takes many. So a
test says at most how many times as many it takes: a number of its own would hold there, too.

The same examples each time, so that a run judges the change and not the draw: torture draws anew.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    deadline=None,
    max_examples=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "torture", settings.get_profile("unit"), derandomize=False, max_examples=2000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "unit"))
