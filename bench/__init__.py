"""Measurements of the product beside their yardsticks, in one run on one machine."""
