"""Loop 4: what winners have in common, kept as patterns and knowledge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import Query
from geminivideo.learning import knowledge, patterns
from geminivideo.learning.comparing import DAY_S, Ad
from geminivideo.learning.teaching import audience_name, sentence
from geminivideo.learning.winners import standing
from geminivideo.learning_records import (
    Actual,
    CreativeFeatures,
    KnowledgeEdge,
    KnowledgeNode,
    PredictionRecord,
    WinningPattern,
)
from geminivideo.policy import Policy
from geminivideo.records import Campaign, Video
from geminivideo.services.learning_loops import LoopContext, LoopResult

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents


@dataclass(frozen=True)
class Learned:
    """What a look at an account's ads found, and the documents that it changes."""

    kept: patterns.Kept
    graph: knowledge.Graph
    writes: tuple[tuple[str, Any], ...]
    compared: int
    most: int

    @property
    def members(self) -> dict[str, Any]:
        """The loop's result; the strongest patterns, where there are very many."""
        alive = [one for one in self.kept.patterns if one.ended_at is None][: self.most]
        return {
            "new_patterns": len(self.kept.new),
            "new_knowledge_nodes": len(self.graph.added),
            "patterns": [shown(one) for one in alive],
        }


def learn(context: LoopContext) -> LoopResult:
    """Find, confirm and end the account's patterns, and draw its knowledge from them.

    The work is bounded by ``policy.patterns`` (the newest ads, so many traits and pairs), so that
    it ends well before the loop's deadline.
    """
    policy, now = context.policy, context.now
    since = now - policy.patterns.window_days * DAY_S
    ads = ads_of(context.documents, context.account_id, policy, since, now)
    found = learned(context.documents, context.account_id, policy, ads, now)
    for path, record in found.writes:
        context.step.put(path, record)
    return LoopResult(found.members)


def learned(
    documents: Documents,
    account_id: str,
    policy: Policy,
    ads: Iterable[Ad],
    now: float,
    decays: bool = True,
) -> Learned:
    """Look at ads with what is known already; ``decays`` False: of a part of the ads only."""
    seen = patterns.look(account_id, ads, policy.patterns, now)
    stored = patterns_of(documents, account_id)
    kept = patterns.keep(stored, seen, decays)
    graph = knowledge.learned(
        account_id,
        kept.patterns,
        _nodes_of(documents, account_id, kept.patterns),
        documents.query(_of(account_id, "knowledge_edges"), KnowledgeEdge),
        now,
        policy.patterns,
    )
    return Learned(
        kept=kept,
        graph=graph,
        writes=tuple(_writes(stored, kept, graph)),
        compared=len(seen.comparison.ads),
        most=policy.patterns.max_patterns,
    )


def _writes(
    stored: Iterable[WinningPattern], kept: patterns.Kept, graph: knowledge.Graph
) -> Iterable[tuple[str, Any]]:
    """Only what differs from what is stored."""
    known = {one.id: one for one in stored}
    for one in kept.patterns:
        if one != known.get(one.id):
            yield f"winning_patterns/{one.account_id}-{one.id}", one
    for node in graph.nodes:
        yield node_path(node), node
    for edge in graph.edges:
        yield f"knowledge_edges/{edge.account_id}-{edge.id}", edge


def node_path(node: KnowledgeNode) -> str:
    """The document path of a node."""
    return _node_path(node.account_id, node.id)


def _node_path(account_id: str, node_id: str) -> str:
    return f"knowledge_nodes/{account_id}-{node_id}"


def _nodes_of(
    documents: Documents, account_id: str, known: Iterable[WinningPattern]
) -> list[KnowledgeNode]:
    """The nodes that patterns are about; what callers told may be any number more."""
    paths = (_node_path(account_id, node_id) for node_id in knowledge.node_ids(known))
    return list(documents.get_many(paths, KnowledgeNode).values())


def patterns_of(documents: Documents, account_id: str) -> list[WinningPattern]:
    """Every pattern of an account, ended ones too."""
    return documents.query(_of(account_id, "winning_patterns"), WinningPattern)


def _of(account_id: str, collection: str) -> Query:
    return Query(collection, [("account_id", "==", account_id)])


def ads_of(
    documents: Documents, account_id: str, policy: Policy, since: float, until: float
) -> list[Ad]:
    """An account's newest ads with known features that were first shown in a time (epoch s)."""
    query = Query(
        "actuals",
        [
            ("account_id", "==", account_id),
            ("first_shown_at", ">=", since),
            ("first_shown_at", "<=", until),
        ],
        order=["-first_shown_at"],
        limit=policy.patterns.max_ads,
    )
    known = [one for one in documents.query(query, Actual) if one.features is not None]
    origins = _origins(documents, known)
    nowhere = Origin()
    return [ad_of(one, policy, origins.get(one.prediction_id or "", nowhere)) for one in known]


@dataclass(frozen=True)
class Origin:
    """Where an ad comes from: its campaign, whom that is for, and the flow that saw its video."""

    campaign: str | None = None
    video: str | None = None
    audience: str | None = None


def _origins(documents: Documents, actuals: Iterable[Actual]) -> dict[str, Origin]:
    """The ads' origins, by their predictions."""
    ids = dict.fromkeys(one.prediction_id for one in actuals if one.prediction_id)
    paths = [f"predictions/{prediction_id}" for prediction_id in ids]
    found = documents.get_many(paths, PredictionRecord).values()
    flows = {one.id: _flow_of(one.blueprint_id) for one in found if one.blueprint_id}
    videos = documents.get_many((f"videos/{flow}" for flow in set(flows.values())), Video)
    material = {video.id: video.material_id for video in videos.values()}
    audiences = _audiences(documents, {one.campaign_id for one in found if one.campaign_id})
    return {
        one.id: Origin(
            one.campaign_id,
            material.get(flows.get(one.id, ""), flows.get(one.id)),
            audiences.get(one.campaign_id or ""),
        )
        for one in found
    }


def _audiences(documents: Documents, campaigns: Iterable[str]) -> dict[str, str | None]:
    """Whom the campaigns are for, as their briefs say."""
    found = documents.get_many((f"campaigns/{one}" for one in sorted(campaigns)), Campaign)
    return {one.id: audience_name(one.brief.target_avatar) for one in found.values()}


def _flow_of(blueprint_id: str) -> str:
    """A blueprint's flow: its id is ``{flow_id}-bp{number}``."""
    return blueprint_id.rpartition("-bp")[0] or blueprint_id


def ad_of(actual: Actual, policy: Policy, origin: Origin) -> Ad:
    """An ad as patterns are found in it; nothing is assumed of features that are unknown."""
    return Ad(
        id=actual.ad_id,
        features=actual.features or CreativeFeatures(),
        impressions=actual.impressions,
        clicks=min(actual.clicks, actual.impressions),
        shown_at=actual.first_shown_at,
        is_winner=standing(actual, policy).is_winner,
        campaign=origin.campaign,
        video=origin.video,
        audience=origin.audience,
    )


def shown(one: WinningPattern) -> dict[str, Any]:
    """A pattern as answers show it; lift is a ratio, p and q are chances."""
    return {
        "id": one.id,
        "pattern_type": one.pattern_type,
        "pattern": one.pattern,
        "description": sentence(one),
        "effect": "raises" if one.raises else "lowers",
        "basis": one.basis,
        "design": one.design,
        "support": one.support,
        "others": one.others,
        "winners": one.winners,
        "lift": one.lift,
        "interval": list(one.interval),
        "p_value": one.p_value,
        "q_value": one.q_value,
        "strength": one.strength,
        "confounded_by": list(one.confounded_by),
        "audiences": [asdict(audience) for audience in one.audiences],
        "found_at": one.found_at,
        "confirmed_at": one.confirmed_at,
        "confirmations": one.confirmations,
    }
