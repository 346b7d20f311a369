"""Property tests here are bounded by their number of examples, not by a loaded machine's clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
