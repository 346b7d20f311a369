"""Titan Core: the Director plans ads, the Oracle predicts, the Council of Titans judges."""
