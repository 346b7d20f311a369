"""The policy in force for an ad account: its own document, or the defaults."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from geminivideo.policy import MODES, Policy

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

_T = TypeVar("_T")


class PolicyError(ValueError):
    """An account's policy document says what cannot be; the message names document and member.

    Nothing is decided by it meanwhile: a default in its place would spend money by rules that the
    owner did not choose.
    """


def policy_of(documents: Documents, account_id: str) -> Policy:
    """``policies/{account_id}``; what it does not say, and an account without one, has defaults.

    Raises ``PolicyError`` for a value that a member cannot have.
    """
    path = f"policies/{account_id}"
    try:
        found = documents.get(path, Policy)
    except msgspec.ValidationError as error:
        raise PolicyError(f"{path} cannot be used: {error}; correct it there") from error
    if found is None:
        return Policy()
    if found.sampler.mode not in MODES:
        told = f"sampler.mode is {found.sampler.mode[:40]!r}"
        raise PolicyError(f"{path} cannot be used: {told}; say {' or '.join(MODES)}")
    return _whole(found)


def _whole(record: _T) -> _T:
    """The same, with each default as a member of its own.

    msgspec leaves to the class what a document does not say, and leaves it out again when it
    writes: a decision's record would not hold the policy that it was made by.
    """
    if not is_dataclass(record) or isinstance(record, type):
        return record
    members = {one.name: _whole(getattr(record, one.name)) for one in fields(record)}
    return type(record)(**members)
