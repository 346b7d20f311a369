"""The policy in force for an ad account: its own document, or the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geminivideo.policy import Policy

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents


def policy_of(documents: Documents, account_id: str) -> Policy:
    """``policies/{account_id}``; an account without one has ``Policy()``."""
    return documents.get(f"policies/{account_id}", Policy) or Policy()
