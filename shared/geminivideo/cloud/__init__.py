"""Thin ports to Google: each opens the real client on first use, so that importing one is free."""
