"""What patterns add up to: a graph of what is known to matter, with its evidence. Pure.

A node is a trait, a pair of traits, an audience or an outcome; an edge says that a trait raises or
lowers an outcome, on what evidence, that it does so for an audience, or is part of a pair.
Everything has an id that follows from its name, so the same patterns twice are the same graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from geminivideo.learning.comparing import CTR, DAY_S, WINNERS
from geminivideo.learning.traits import PAIR, PART_OF
from geminivideo.learning_records import (
    AudienceLift,
    KnowledgeEdge,
    KnowledgeNode,
    WinningPattern,
)
from geminivideo.policy import PatternPolicy

ADS = "ads"
OUTCOME, AUDIENCE = "outcome", "audience"
PART_OF_PAIR, RAISES, LOWERS = "part_of", "raises", "lowers"
OUTCOMES: Mapping[str, str] = {CTR: "click-through rate", WINNERS: "being a winner"}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What somebody says works; ``effectiveness`` in whatever measure they have."""

    pattern_type: str
    pattern: str
    effectiveness: float | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes and edges that are to be written, and which nodes are new."""

    nodes: tuple[KnowledgeNode, ...]
    edges: tuple[KnowledgeEdge, ...] = ()
    added: tuple[str, ...] = ()


def node_id(kind: str, name: str) -> str:
    """A stable id, fit for a document's path."""
    return hashlib.sha256(f"{kind}\n{name}".encode()).hexdigest()[:16]


def learned(
    account_id: str,
    patterns: Iterable[WinningPattern],
    nodes: Iterable[KnowledgeNode],
    edges: Iterable[KnowledgeEdge],
    now: float,
    policy: PatternPolicy,
) -> Graph:
    """What changes in a graph by patterns; nothing, when it holds them already."""
    told = list(patterns)
    known_nodes = {node.id: node for node in nodes}
    known_edges = {edge.id: edge for edge in edges}
    named = {n.id: n for pattern in told for n in _nodes(account_id, pattern, now)}
    drawn = {
        edge.id: edge
        for pattern in told
        for draw in (_edges, _audience_edges)
        for edge in draw(account_id, pattern, now)
    }
    grown = [_node(known_nodes.get(id_), node) for id_, node in named.items()]
    turned = [_edge(known_edges.get(id_), edge) for id_, edge in drawn.items()]
    left = _left(known_edges, drawn, {pattern.id for pattern in told})
    every = [_dated(edge, now, policy) for edge in [*turned, *left]]
    return Graph(
        nodes=tuple(node for node in grown if node != known_nodes.get(node.id)),
        edges=tuple(edge for edge in every if edge != known_edges.get(edge.id)),
        added=tuple(id_ for id_ in named if id_ not in known_nodes),
    )


def node_ids(patterns: Iterable[WinningPattern]) -> tuple[str, ...]:
    """The nodes that patterns are about."""
    return tuple(dict.fromkeys(node.id for one in patterns for node in _nodes("", one, 0.0)))


def _nodes(account_id: str, pattern: WinningPattern, now: float) -> Iterator[KnowledgeNode]:
    names = [(pattern.pattern_type, pattern.pattern), (OUTCOME, OUTCOMES[pattern.basis])]
    heard = [(AUDIENCE, one.audience) for one in _sure(pattern)]
    for kind, name in [*names, *_parts(pattern), *heard]:
        yield KnowledgeNode(
            id=node_id(kind, name), account_id=account_id, kind=kind, name=name,
            added_at=now, updated_at=now, sources=(ADS,),
        )  # fmt: skip


def _sure(pattern: WinningPattern) -> list[AudienceLift]:
    """The audiences for which a pattern's interval alone lies on one side of 1."""
    return [one for one in pattern.audiences if not one.interval[0] <= 1 <= one.interval[1]]


def _parts(pattern: WinningPattern) -> list[tuple[str, str]]:
    """The kinds and names of a pair's traits."""
    if pattern.pattern_type != PAIR:
        return []
    names = pattern.pattern.split(" & ")
    members = (condition.member for condition in pattern.conditions)
    return [(PART_OF[member], name) for member, name in zip(members, names, strict=True)]


def _edges(account_id: str, pattern: WinningPattern, now: float) -> Iterator[KnowledgeEdge]:
    mine = node_id(pattern.pattern_type, pattern.pattern)
    outcome = node_id(OUTCOME, OUTCOMES[pattern.basis])
    yield KnowledgeEdge(
        id=f"{mine}-{outcome}", account_id=account_id, from_id=mine, to_id=outcome,
        relation=RAISES if pattern.raises else LOWERS, added_at=now, updated_at=now,
        pattern_id=pattern.id, evidence=pattern.support, evidence_without=pattern.others,
        confirmations=pattern.confirmations, lift=pattern.lift, interval=pattern.interval,
        strength=pattern.strength, ended_at=pattern.ended_at,
    )  # fmt: skip
    for kind, name in _parts(pattern):
        part = node_id(kind, name)
        yield KnowledgeEdge(
            id=f"{part}-{mine}", account_id=account_id, from_id=part, to_id=mine,
            relation=PART_OF_PAIR, added_at=now, updated_at=now, pattern_id=pattern.id,
            evidence=pattern.support, strength=pattern.strength, ended_at=pattern.ended_at,
        )  # fmt: skip


def _audience_edges(
    account_id: str, pattern: WinningPattern, now: float
) -> Iterator[KnowledgeEdge]:
    mine = node_id(pattern.pattern_type, pattern.pattern)
    for one in _sure(pattern):
        theirs = node_id(AUDIENCE, one.audience)
        yield KnowledgeEdge(
            id=f"{theirs}-{mine}", account_id=account_id, from_id=theirs, to_id=mine,
            relation=RAISES if one.lift > 1 else LOWERS, added_at=now, updated_at=now,
            pattern_id=pattern.id, evidence=one.support, evidence_without=one.others,
            lift=one.lift, interval=one.interval, strength=pattern.strength,
            ended_at=pattern.ended_at,
        )  # fmt: skip


def _node(known: KnowledgeNode | None, named: KnowledgeNode) -> KnowledgeNode:
    if known is None or ADS in known.sources:
        return known or named
    return replace(known, sources=(*known.sources, ADS), updated_at=named.updated_at)


def _edge(known: KnowledgeEdge | None, drawn: KnowledgeEdge) -> KnowledgeEdge:
    """The edge as drawn, with the times of the known one when nothing else differs."""
    if known is None:
        return drawn
    same = replace(
        drawn,
        added_at=known.added_at,
        updated_at=known.updated_at,
        expire_at=known.expire_at if drawn.ended_at is not None else None,
    )
    return same if same == known else replace(same, updated_at=drawn.updated_at)


def _left(
    known: Mapping[str, KnowledgeEdge], drawn: Mapping[str, KnowledgeEdge], patterns: set[str]
) -> Iterator[KnowledgeEdge]:
    """Edges that a pattern had when it was told by another outcome: they hold no longer."""
    for edge in known.values():
        if edge.id not in drawn and edge.pattern_id in patterns and edge.ended_at is None:
            yield replace(edge, ended_at=0.0, strength=0.0)


def _dated(edge: KnowledgeEdge, now: float, policy: PatternPolicy) -> KnowledgeEdge:
    """When an edge that holds no longer is deleted."""
    if edge.ended_at is None or edge.expire_at is not None:
        return edge
    ended_at = edge.ended_at or now
    return replace(edge, ended_at=ended_at, expire_at=ended_at + policy.kept_days * DAY_S)


def told(
    account_id: str,
    claims: Iterable[Claim],
    source: str,
    nodes: Iterable[KnowledgeNode],
    now: float,
) -> Graph:
    """Nodes with what a source claims of them. A claim is no evidence: it draws no edge."""
    known = {node.id: node for node in nodes}
    grown: dict[str, KnowledgeNode] = {}
    for claim in claims:
        kind, name = _clean(claim.pattern_type), _clean(claim.pattern)
        id_ = node_id(kind, name)
        node = grown.get(id_) or known.get(id_) or _bare(account_id, id_, kind, name, now)
        grown[id_] = replace(
            node,
            sources=tuple(dict.fromkeys([*node.sources, source])),
            told={**node.told, source: claim.effectiveness},
            updated_at=now,
        )
    added = tuple(id_ for id_ in grown if id_ not in known)
    return Graph(nodes=tuple(grown.values()), added=added)


def _bare(account_id: str, id_: str, kind: str, name: str, now: float) -> KnowledgeNode:
    return KnowledgeNode(
        id=id_, account_id=account_id, kind=kind, name=name, added_at=now, updated_at=now
    )


def _clean(text: str) -> str:
    return " ".join(text.split()).casefold()
