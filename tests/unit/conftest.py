"""Unit tests may run on a machine that does much else: slow is not wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")
