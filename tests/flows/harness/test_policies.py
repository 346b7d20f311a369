"""The policy of an account, as its document says it."""

import msgspec
from geminivideo.policy import Policy
from geminivideo.runtime.policies import policy_of


def test_a_policy_that_is_told_in_part_is_written_whole(world):
    """A document names one member; what is written from the policy holds all others too."""
    world.documents.set("policies/short", {"executor": {"mode": "auto"}})
    found = policy_of(world.documents, "short")
    said, whole = (msgspec.to_builtins(policy) for policy in (found, Policy()))
    assert said.keys() == whole.keys()
    assert said["executor"] == whole["executor"] | {"mode": "auto"}
