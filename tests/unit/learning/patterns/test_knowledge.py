"""The graph of what is known: drawn from patterns once, and told things that are no evidence."""

from dataclasses import replace

from geminivideo.learning import knowledge
from geminivideo.learning.knowledge import Claim, node_id
from geminivideo.learning_records import AudienceLift, Condition, WinningPattern
from geminivideo.policy import PatternPolicy
from hypothesis import given
from hypothesis import strategies as st

POLICY = PatternPolicy()
ASKS = Condition(member="hook_type", equals="question")
WARM = Condition(member="grade", equals="warm")


def pattern(name="hook_type=question", part="hook", conditions=(ASKS,), **members):
    given = {
        "id": name, "account_id": "acme", "pattern_type": part, "pattern": name, "support": 20,
        "others": 44, "winners": 9, "lift": 2.0, "interval": (1.5, 2.6), "p_value": 0.001,
        "q_value": 0.01, "strength": 0.9, "found_at": 1.0, "confirmed_at": 1.0, "basis": "ctr",
        "conditions": conditions,
    }  # fmt: skip
    return WinningPattern(**(given | members))


PAIR = pattern("grade=warm & hook_type=question", "pair", (WARM, ASKS))


def drawn(patterns, nodes=(), edges=(), now=10.0):
    return knowledge.learned("acme", patterns, nodes, edges, now, POLICY)


def test_a_pattern_is_a_trait_that_raises_an_outcome():
    """Two nodes and an edge with the evidence on it."""
    graph = drawn([pattern()])
    assert {(node.kind, node.name) for node in graph.nodes} == {
        ("hook", "hook_type=question"),
        ("outcome", "click-through rate"),
    }
    (edge,) = graph.edges
    assert (edge.relation, edge.evidence, edge.evidence_without) == ("raises", 20, 44)
    assert (edge.lift, edge.interval, edge.strength) == (2.0, (1.5, 2.6), 0.9)
    assert set(graph.added) == {node.id for node in graph.nodes}


def test_a_pattern_below_one_lowers():
    """The edge says which way."""
    assert drawn([pattern(lift=0.5, interval=(0.4, 0.7))]).edges[0].relation == "lowers"


def test_a_pair_is_joined_to_its_traits():
    """A pair has a node of its own, and both traits are part of it."""
    graph = drawn([PAIR])
    assert {(n.kind, n.name) for n in graph.nodes if n.kind != "outcome"} == {
        ("pair", PAIR.pattern),
        ("visual", "grade=warm"),
        ("hook", "hook_type=question"),
    }
    assert sorted(edge.relation for edge in graph.edges) == ["part_of", "part_of", "raises"]


def test_the_same_patterns_twice_change_nothing():
    """A second cycle with the same patterns writes no node and no edge."""
    graph = drawn([pattern(), PAIR])
    again = drawn([pattern(), PAIR], graph.nodes, graph.edges, now=99.0)
    assert again == knowledge.Graph(nodes=(), edges=(), added=())


def test_more_evidence_is_written_on_the_same_edge():
    """A confirmed pattern changes its edge, keeps when it was drawn, and adds no node."""
    graph = drawn([pattern()])
    again = drawn([pattern(support=31, confirmations=2)], graph.nodes, graph.edges, now=99.0)
    (edge,) = again.edges
    assert (edge.id, edge.evidence, edge.confirmations) == (graph.edges[0].id, 31, 2)
    assert (edge.added_at, edge.updated_at) == (10.0, 99.0)
    assert again.nodes == ()
    assert again.added == ()


def test_an_ended_pattern_ends_its_edge():
    """The edge gets its end and a date of deletion once, and none again later."""
    graph = drawn([pattern()])
    ended = [pattern(ended_at=50.0, strength=0.1)]
    first = drawn(ended, graph.nodes, graph.edges, now=50.0)
    (edge,) = first.edges
    assert edge.ended_at == 50.0
    assert edge.expire_at == 50.0 + POLICY.kept_days * 86_400
    assert drawn(ended, graph.nodes, first.edges, now=70.0).edges == ()


def test_a_pattern_that_comes_back_revives_its_edge():
    """Neither end nor date of deletion stays on it."""
    ended = drawn([pattern(ended_at=50.0)], now=50.0)
    (edge,) = drawn([pattern()], ended.nodes, ended.edges, now=60.0).edges
    assert (edge.ended_at, edge.expire_at) == (None, None)


def test_a_pattern_told_by_another_outcome_ends_its_former_edge():
    """When winners' shares speak instead of rates, the edge to the rate holds no longer."""
    graph = drawn([pattern()])
    again = drawn([pattern(basis="winners")], graph.nodes, graph.edges, now=20.0)
    by_end = {edge.ended_at: edge for edge in again.edges}
    assert set(by_end) == {None, 20.0}
    assert by_end[20.0].id == graph.edges[0].id
    assert [node.name for node in again.nodes] == ["being a winner"]


def test_an_audience_for_which_it_holds_is_a_node():
    """Cooks raise, runners (whose interval holds 1) are not in the graph."""
    cooks = AudienceLift(audience="cooks", support=9, others=20, lift=2.4, interval=(1.6, 3.5))
    runners = replace(cooks, audience="runners", lift=1.1, interval=(0.8, 1.5))
    graph = drawn([pattern(audiences=(cooks, runners))])
    assert [node.name for node in graph.nodes if node.kind == "audience"] == ["cooks"]
    edge = next(e for e in graph.edges if e.from_id == node_id("audience", "cooks"))
    assert (edge.relation, edge.evidence, edge.lift) == ("raises", 9, 2.4)
    gone = drawn([pattern()], graph.nodes, graph.edges, now=20.0)
    assert [one.ended_at for one in gone.edges] == [20.0]


# What is told -----------------------------------------------------------------------------------


def told(claims, nodes=(), source="agency", now=5.0):
    return knowledge.told("acme", claims, source, nodes, now)


def test_a_claim_is_a_node_with_its_source_and_no_edge():
    """What somebody says works is kept with who says so; it is no evidence."""
    graph = told([Claim(pattern_type="Hook", pattern=" Unboxing  first ", effectiveness=0.8)])
    (node,) = graph.nodes
    assert (node.kind, node.name) == ("hook", "unboxing first")
    assert (node.sources, node.told) == (("agency",), {"agency": 0.8})
    assert graph.edges == ()
    assert graph.added == (node.id,)


def test_the_same_claim_twice_adds_no_node():
    """A second telling updates, and a second source joins the first."""
    claims = [Claim(pattern_type="hook", pattern="unboxing", effectiveness=0.8)]
    first = told(claims)
    again = told(claims, first.nodes, source="book", now=9.0)
    assert again.added == ()
    assert again.nodes[0].told == {"agency": 0.8, "book": 0.8}
    assert again.nodes[0].added_at == 5.0


def test_a_claim_and_a_finding_meet_in_one_node():
    """What was told first and measured later is one node with both sources."""
    first = told([Claim(pattern_type="hook", pattern="hook_type=question", effectiveness=None)])
    graph = drawn([pattern()], first.nodes)
    node = next(node for node in graph.nodes if node.kind == "hook")
    assert node.id == node_id("hook", "hook_type=question") == first.nodes[0].id
    assert node.sources == ("agency", "ads")
    assert node.id not in graph.added


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12))
def test_however_often_a_thing_is_told_it_is_one_node(pairs):
    """There are as many nodes as different claims, in one request or in two."""
    claims = [Claim(pattern_type=kind, pattern=name) for kind, name in pairs]
    graph = told(claims)
    assert len(graph.nodes) == len(set(pairs)) == len(graph.added)
    assert told(claims, graph.nodes).added == ()


def test_nodes_of_different_accounts_do_not_meet():
    """An account's graph is its own: the account is on every node and edge."""
    other = knowledge.learned(
        "rival", [replace(pattern(), account_id="rival")], (), (), 1.0, POLICY
    )
    assert {one.account_id for one in (*other.nodes, *other.edges)} == {"rival"}
