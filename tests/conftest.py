"""Hypothesis as this repository wants it: nothing written next to the sources, no stopwatch."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "banger", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("banger")
