"""The step harness: decode, claim, run, commit, publish."""
