"""The Council on variations of a winner: which request a flow answers, and its session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geminivideo.learning_records import VariationRequest
from geminivideo.records import Blueprint
from geminivideo.titan_core import session

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.language import LanguageModel
    from geminivideo.policy import CouncilPolicy
    from geminivideo.titan_core.material import Material
    from geminivideo.titan_core.session import Session

CANDIDATES = 3  # plans that are judged for each ad that is wanted


def request_path(flow_id: str) -> str:
    """``variation_requests/{flow_id}``."""
    return f"variation_requests/{flow_id}"


def request_of(documents: Documents, flow_id: str) -> VariationRequest | None:
    """The request that a flow answers, if it is one of variations."""
    return documents.get(request_path(flow_id), VariationRequest)


def hold(
    documents: Documents,
    wanted: VariationRequest,
    material: Material,
    policy: CouncilPolicy,
    model: LanguageModel | None,
) -> Session:
    """The session on the winner's plan; each turn goes on where the turn before it ended."""
    winner = documents.require(f"blueprints/{wanted.blueprint_id}", Blueprint)
    count = CANDIDATES * wanted.ads
    return session.hold_on_winner(material, policy, model, winner, count, wanted.turn * count)
