"""Knowledge that others bring: what a source says works becomes nodes, and no evidence."""

from __future__ import annotations

from dataclasses import dataclass

from geminivideo.learning import knowledge
from geminivideo.learning.knowledge import Claim
from geminivideo.learning_records import KnowledgeNode
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.services.patterns import node_path

_MOST = 500
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class KnowledgeTold:
    """What ``source`` says works; ``effectiveness`` is in whatever measure it has."""

    patterns: list[Claim]
    source: str
    account_id: str = "default"


@dataclass(frozen=True, kw_only=True)
class KnowledgeTaken:
    """How many nodes are new, and how many were known; the same again adds none."""

    nodes_added: int
    nodes_updated: int


def update(call: Call) -> KnowledgeTaken:
    """Take what a source says into the account's knowledge.

    It is kept with its source's name; plans follow only what the account's own ads showed.
    """
    asked: KnowledgeTold = call.body
    account_id = identifier(asked.account_id, "account_id")
    source = asked.source.strip()
    if not source or source == knowledge.ADS or len(source) > _LONGEST:
        raise ApiError(422, f"source must name who says so, and not {knowledge.ADS!r}")
    _check(asked.patterns)
    known = _known(call, account_id, asked.patterns)
    graph = knowledge.told(account_id, asked.patterns, source, known, call.ports.clock.now())
    call.ports.documents.set_many((node_path(node), node) for node in graph.nodes)
    added = len(graph.added)
    return KnowledgeTaken(nodes_added=added, nodes_updated=len(graph.nodes) - added)


def _check(claims: list[Claim]) -> None:
    if len(claims) > _MOST:
        raise ApiError(422, f"patterns must be at most {_MOST}")
    for place, claim in enumerate(claims):
        for member, text in (("pattern_type", claim.pattern_type), ("pattern", claim.pattern)):
            if not text.strip() or len(text) > _LONGEST:
                raise ApiError(
                    422, f"patterns[{place}].{member} must have 1 to {_LONGEST} characters"
                )


def _known(call: Call, account_id: str, claims: list[Claim]) -> list[KnowledgeNode]:
    named = knowledge.told(account_id, claims, "", (), 0.0).nodes
    paths = [node_path(node) for node in named]
    return list(call.ports.documents.get_many(paths, KnowledgeNode).values())


def serve(api: Api) -> None:
    """The route of told knowledge."""
    path = "/api/ml/knowledge-graph/update"
    api.post(path, body=KnowledgeTold, answer=KnowledgeTaken)(update)
