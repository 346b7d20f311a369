"""The sixth loop: an account gives its vector and takes the release; one release in each slot.

Whichever cycle comes first in a slot makes its release, in one transaction with the losses of all
who are in it. Every later one finds it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geminivideo.cloud.documents import AlreadyExistsError, Query
from geminivideo.learning import noise, privacy, sharing
from geminivideo.learning.noise import Noise
from geminivideo.learning.privacy import Slot
from geminivideo.learning_records import Contribution, PrivacyLedger, SharedRelease, SharingConsent
from geminivideo.policy import SharingPolicy
from geminivideo.records import Account
from geminivideo.services import shared_patterns as shared
from geminivideo.services.hearing import CONSENTS, consent_path
from geminivideo.services.learning_loops import LoopResult

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.services.learning_loops import LoopContext


def share(context: LoopContext) -> LoopResult:
    """Loop 6: renew the account's contribution, make the slot's release if it is due, take it.

    A loop that is late leaves the contribution and the release to the next cycle.
    """
    documents, account, now = context.documents, context.account_id, context.now
    consent = documents.get(consent_path(account), SharingConsent)
    if not context.late:
        consent = shared.contribute(documents, account, now)
        release_if_due(documents, now)
    taking_part = consent is not None and consent.opted_in
    release = shared.standing(documents) if taking_part else None
    why = shared.degraded(documents, account, now) if taking_part else ()
    return LoopResult(shared.members(consent, release), why)


def release_if_due(
    documents: Documents, now: float, add_noise: Noise = noise.laplace
) -> SharedRelease:
    """The release of the slot that ``now`` lies in: made by the first who asks, then as it is.

    ``add_noise`` takes the cells, the sensitivity and epsilon.
    """
    policy = shared.sharing_policy(documents)
    slot = privacy.slot_of(now, policy)
    made = documents.get(shared.release_path(slot.id), SharedRelease)
    if made is not None:
        return made
    try:
        return documents.transact(lambda t: _make(t, slot, policy, now, add_noise))
    except AlreadyExistsError:
        return documents.require(shared.release_path(slot.id), SharedRelease)


def _make(
    transaction: Transaction, slot: Slot, policy: SharingPolicy, now: float, add_noise: Noise
) -> SharedRelease:
    path = shared.release_path(slot.id)
    made = transaction.get(path, SharedRelease)
    if made is not None:
        return made
    consents = transaction.query(Query(CONSENTS, [("opted_in", "==", True)]), SharingConsent)
    gone, takers = _takers(transaction, consents)
    joining = [
        (one, ledger)
        for one, ledger in takers
        if sharing.counts(one.contribution, policy, now) and privacy.affords(ledger, slot, policy)
    ]
    contributions = [one.contribution for one, _ in joining if one.contribution is not None]
    release = _release(contributions, slot, policy, now, add_noise)
    transaction.create(path, release)
    for one, ledger in joining:
        charged = privacy.charged(ledger, one.id, slot, policy)
        transaction.set(shared.ledger_path(one.id), charged)
    for account_id in gone:
        transaction.delete(consent_path(account_id))
    return release


def _takers(
    transaction: Transaction, consents: Sequence[SharingConsent]
) -> tuple[list[str], list[tuple[SharingConsent, PrivacyLedger | None]]]:
    """(accounts that were deleted, those that are there with their ledgers)."""
    accounts = {one.id: f"accounts/{one.id}" for one in consents}
    ledgers = {one.id: shared.ledger_path(one.id) for one in consents}
    if consents:
        transaction.read_ahead(*accounts.values(), *ledgers.values())
    there = {one for one, path in accounts.items() if transaction.get(path, Account) is not None}
    gone = [one.id for one in consents if one.id not in there]
    return gone, [
        (one, transaction.get(ledgers[one.id], PrivacyLedger))
        for one in consents
        if one.id in there
    ]


def _release(
    contributions: Sequence[Contribution],
    slot: Slot,
    policy: SharingPolicy,
    now: float,
    add_noise: Noise,
) -> SharedRelease:
    if len(contributions) < policy.min_accounts:
        return sharing.withheld(slot, policy, now)
    cells = sharing.measured(contributions, policy)
    values = add_noise(list(cells.values()), privacy.sensitivity(policy), policy.epsilon)
    return sharing.published(dict(zip(cells, values, strict=True)), slot, policy, now)
