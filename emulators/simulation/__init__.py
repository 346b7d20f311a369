"""Simulations of the budget optimization: the real steps against a market, for days in minutes."""
