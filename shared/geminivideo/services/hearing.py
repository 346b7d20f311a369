"""Which models an account hears: what has learned from other accounts alone is their experience.

It is heard only by an account that takes part in sharing, like everything that accounts learn of
each other; until a model has learned from an account's own ads, nothing is known of them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from geminivideo.learning_records import MODEL_VERSIONS, ModelVersion, SharingConsent

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

CONSENTS = "sharing_consents"


def consent_path(account_id: str) -> str:
    """The document path of an account's consent to sharing."""
    return f"{CONSENTS}/{account_id}"


def opted_in(documents: Documents, account_id: str) -> bool:
    """Whether an account takes part; one that never said so does not."""
    consent = documents.get(consent_path(account_id), SharingConsent)
    return consent is not None and consent.opted_in


def hears(documents: Documents, account_id: str, version: str) -> bool:
    """Whether this account hears this model version."""
    return version in heard(documents, account_id, [version])


def heard(documents: Documents, account_id: str, versions: Collection[str]) -> frozenset[str]:
    """Of model versions those that this account hears.

    One that the registry has no record of was put in use by hand, for everybody.
    """
    if not versions or opted_in(documents, account_id):
        return frozenset(versions)
    paths = {f"{MODEL_VERSIONS}/{version}": version for version in versions}
    foreign = {
        paths[path]
        for path, one in documents.get_many(paths, ModelVersion).items()
        if account_id not in one.accounts
    }
    return frozenset(versions) - foreign
