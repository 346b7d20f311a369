"""Loop 4 in a cycle: patterns and knowledge are written once, whatever becomes of a delivery."""

from dataclasses import replace

from geminivideo.events import PatternsDue, PromotionDue
from geminivideo.learning_records import Actual, LearningCycle
from geminivideo.policy import Policy
from geminivideo.runtime.failures import LeaseLostError

QUESTION = "hook_type=question"
DAY = 86_400.0


def test_the_loop_finds_what_works_and_draws_it(world):
    """Questions at twice the rate become a pattern, a node and an edge, and promotion is next."""
    world.ads()
    loop = world.run_loop()
    assert loop.status == "completed"
    assert set(loop.result) == {"new_patterns", "new_knowledge_nodes", "patterns"}
    assert loop.result["new_patterns"] == len(loop.result["patterns"]) >= 1
    found = world.patterns()[QUESTION]
    assert found.raises
    assert found.design == "within"
    nodes, edges = world.graph()
    assert loop.result["new_knowledge_nodes"] == len(nodes)
    assert {f"acme-{node.id}" for node in nodes.values()} == set(nodes)
    raising = [edge for edge in edges.values() if edge.relation == "raises"]
    assert any(edge.pattern_id == found.id for edge in raising)
    assert [row.topic for row in world.sent] == [PromotionDue.TOPIC]


def test_the_next_cycle_with_the_same_ads_adds_nothing(world):
    """A second cycle finds the same patterns, writes none anew and counts none as new."""
    world.ads()
    world.run_loop()
    before = (world.patterns(), world.graph())
    world.clock.at += 3600
    loop = world.run_loop("lc-2")
    assert (loop.result["new_patterns"], loop.result["new_knowledge_nodes"]) == (0, 0)
    assert len(loop.result["patterns"]) == len(before[0])
    assert (world.patterns(), world.graph()) == before


def test_the_same_delivery_twice_is_done_once(world):
    """Pub/Sub delivers again: the run is acknowledged and the result stays."""
    world.ads()
    first = world.run_loop()
    answer = world.door().work(PatternsDue(flow_id="lc-1", account_id="acme"))
    assert answer.outcome == "completed"
    assert world.loop() == first


def test_a_loop_that_is_killed_before_its_commit_leaves_nothing_half_done(world, monkeypatch):
    """Its holder loses the lease at the last moment: no pattern is there; the next run has all."""
    world.ads()
    world.cycle()
    door = world.door()

    def lost(*_):
        raise LeaseLostError("the lease is gone")

    event = PatternsDue(flow_id="lc-1", account_id="acme")
    with monkeypatch.context() as patch:
        patch.setattr(type(door), "_commit", lost)
        assert door.work(event).status == 503
    assert world.patterns() == {}
    assert world.graph() == ({}, {})
    world.clock.at += 120
    assert door.work(event).outcome == "completed"
    assert world.loop().result["new_patterns"] == len(world.patterns()) >= 1


def test_an_empty_account_learns_nothing(world):
    """No ad: the loop completes with zeros and writes no document."""
    loop = world.run_loop()
    assert loop.status == "completed"
    assert loop.result == {"new_patterns": 0, "new_knowledge_nodes": 0, "patterns": []}
    assert world.patterns() == {}


def test_noise_writes_no_pattern(world):
    """An account in which nothing works keeps no pattern and no knowledge."""
    world.ads(factor=1.0, seed=3)
    assert world.run_loop().result["patterns"] == []
    assert world.graph() == ({}, {})


def test_accounts_do_not_see_each_other(world):
    """Another account's ads and patterns are neither read nor written."""
    world.ads(account="rival")
    assert world.run_loop().result["patterns"] == []
    world.run_loop("lc-2", account="rival")
    assert {one.account_id for one in world.patterns().values()} == {"rival"}
    assert world.run_loop("lc-3").result["patterns"] == []


def test_ads_without_features_are_left_out(world):
    """An ad that was not made here is no evidence for or against a trait."""
    world.ads()
    stored = world.all("actuals", Actual)
    world.documents.set_many(
        (f"actuals/{ad}", replace(one, features=None)) for ad, one in stored.items()
    )
    assert world.run_loop().result["patterns"] == []


def test_a_pattern_fades_and_ends_as_newer_ads_do_not_show_it(world):
    """Months of newer ads in which questions do nothing end the pattern and its edge."""
    world.ads()
    world.run_loop()
    world.clock.at += 75 * DAY
    world.ads(factor=1.0, seed=9, campaigns=3, until=world.clock.at, name="n")
    loop = world.run_loop("lc-2")
    ended = world.patterns()[QUESTION]
    assert ended.ended_at == world.clock.at
    assert ended.expire_at > world.clock.at
    assert QUESTION not in [one["pattern"] for one in loop.result["patterns"]]
    _, edges = world.graph()
    assert all(edge.ended_at for edge in edges.values() if edge.pattern_id == ended.id)


def test_newer_ads_that_show_it_confirm(world):
    """Two weeks later the same effect in new campaigns is a second confirmation."""
    world.ads()
    world.run_loop()
    world.clock.at += 14 * DAY
    world.ads(seed=2, campaigns=4, until=world.clock.at, name="n")
    world.run_loop("lc-2")
    assert world.patterns()[QUESTION].confirmations == 2
    _, edges = world.graph()
    assert max(edge.confirmations for edge in edges.values()) == 2


def test_the_accounts_own_policy_is_used(world):
    """An account that asks for more support than it has ads finds nothing."""
    world.ads()
    policy = Policy()
    strict = replace(policy, patterns=replace(policy.patterns, min_support=40))
    world.documents.set("policies/acme", strict)
    assert world.run_loop().result["patterns"] == []


def test_the_cycles_record_shows_the_loop(world):
    """The cycle holds the loop's number, name, times and status."""
    world.ads(campaigns=2)
    world.run_loop()
    cycle = world.documents.require("learning_cycles/lc-1", LearningCycle)
    run = cycle.steps["4"]
    assert (run.number, run.name, run.status) == (4, "patterns", "completed")
    assert run.duration_seconds is not None
