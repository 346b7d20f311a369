"""The policy in force for an ad account: its own document, or the defaults."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, TypeVar

from geminivideo.policy import Policy

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

_T = TypeVar("_T")


def policy_of(documents: Documents, account_id: str) -> Policy:
    """``policies/{account_id}``; what it does not say, and an account without one, has defaults."""
    found = documents.get(f"policies/{account_id}", Policy)
    return Policy() if found is None else _whole(found)


def _whole(record: _T) -> _T:
    """The same, with each default as a member of its own.

    msgspec leaves to the class what a document does not say, and leaves it out again when it
    writes: a decision's record would not hold the policy that it was made by.
    """
    if not is_dataclass(record) or isinstance(record, type):
        return record
    members = {one.name: _whole(getattr(record, one.name)) for one in fields(record)}
    return type(record)(**members)
