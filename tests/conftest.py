"""For every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadlines: these machines are noisy, and a timed test fails for others' reasons.
settings.register_profile("bottega", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bottega")
