"""Hypothesis as this repository wants it: nothing written next to the sources, no stopwatch."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("banger", database=None, deadline=None)
settings.load_profile("banger")
