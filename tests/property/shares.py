"""How many examples each property gets: together ten times the profile's, 2,000 or 100,000 cases."""

from __future__ import annotations

from hypothesis import settings


def share(of_profile: float) -> settings:
    """Return settings with a multiple of the profile's number of examples, at least one."""
    return settings(max_examples=max(1, round(settings().max_examples * of_profile)))
