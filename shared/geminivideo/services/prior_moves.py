"""What moves the prior CTR of an account's ads: its own model and patterns, and other accounts'.

Both are read once when a decision gathers its signals, and stand in them with their reasons: the
decision replays from its record whatever is learned later. A model that has not learned from the
account's own ads is other accounts' experience, and is heard only where the account takes part in
sharing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from geminivideo.budget.signals import DAY_S, AdSignals
from geminivideo.cloud.documents import Query
from geminivideo.learning import likeness, sharing
from geminivideo.learning.likeness import Likeness
from geminivideo.learning.sharing import Wisdom
from geminivideo.learning_records import (
    PredictionRecord,
    SharedRelease,
    WinningPattern,
)
from geminivideo.policy import Policy
from geminivideo.records import ChangeType, PendingChange
from geminivideo.services import hearing, shared_patterns

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

_IN = 30  # values that one ``in`` filter takes
_UNLINKED_DAYS = 7.0  # an ad whose prediction is not linked by then was not shown
_MOST_REASONS = 8


@dataclass(frozen=True)
class Known:
    """All that may move a prior of the account."""

    predictions: Mapping[str, PredictionRecord]  # by ad
    patterns: Sequence[WinningPattern]
    opted_in: bool
    release: SharedRelease | None
    models: frozenset[str]  # versions that may be heard
    usual_ctr: float | None
    newness: float


def moved(
    documents: Documents,
    account_id: str,
    signals: Sequence[AdSignals],
    ads_of: Mapping[str, Sequence[str]],
    policy: Policy,
    now: float,
) -> tuple[AdSignals, ...]:
    """The signals with ``dna`` and ``wisdom``, each with its reasons in ``moved_by``.

    ``ads_of`` names the ads of a unit that is more than the ad of its own id. Without consent, or
    before a release, there is no wisdom; without a model and patterns, no ``dna``.
    """
    if not signals:
        return ()
    return moved_by(known_of(documents, account_id, signals, policy, now), signals, ads_of, policy)


def moved_by(
    known: Known,
    signals: Sequence[AdSignals],
    ads_of: Mapping[str, Sequence[str]],
    policy: Policy,
) -> tuple[AdSignals, ...]:
    """The signals as ``known`` moves them; a ``dna`` that they bring stands, with its reasons."""
    if not known.predictions and known.release is None:
        return tuple(signals)
    return tuple(_moved(one, ads_of.get(one.ad_id, (one.ad_id,)), known, policy) for one in signals)


def known_of(
    documents: Documents,
    account_id: str,
    signals: Sequence[AdSignals],
    policy: Policy,
    now: float,
) -> Known:
    """What stands now: the account's predictions and patterns, and the release that it hears."""
    predictions = _predictions(documents, account_id, now)
    of_account = [("account_id", "==", account_id)]
    patterns = (
        documents.query(Query("winning_patterns", of_account), WinningPattern)
        if predictions
        else []
    )
    shown = sum(ad.impressions for ad in signals)
    pseudo = policy.sampler.prior_ctr_impressions
    opted_in = hearing.opted_in(documents, account_id)
    said = [one.predicted for one in predictions.values() if one.predicted is not None]
    models = hearing.heard(documents, account_id, {one.model_version for one in said})
    return Known(
        predictions=predictions,
        patterns=patterns,
        opted_in=opted_in,
        release=shared_patterns.standing(documents) if opted_in else None,
        models=models,
        usual_ctr=likeness.usual_ctr(one for one in said if one.model_version in models),
        newness=pseudo / (pseudo + shown),
    )


def _predictions(documents: Documents, account_id: str, now: float) -> dict[str, PredictionRecord]:
    """What was predicted of each ad, by the ad's id; of new ads through the change that made it."""
    query = Query("predictions", [("account_id", "==", account_id)])
    every = list(chain(*documents.pages(query, PredictionRecord)))
    found = {one.ad_id: one for one in every if one.ad_id}
    new = {
        one.variation_id: one
        for one in every
        if not one.ad_id and one.variation_id and now - one.at <= _UNLINKED_DAYS * DAY_S
    }
    for change in _made(documents, list(new)):
        if change.meta_id and change.change_type is ChangeType.CREATE_AD:
            found[change.meta_id] = new[str(change.variation_id)]
    return found


def _made(documents: Documents, variations: Sequence[str]) -> Iterable[PendingChange]:
    for start in range(0, len(variations), _IN):
        some = list(variations[start : start + _IN])
        yield from documents.query(
            Query("pending_ad_changes", [("variation_id", "in", some)]), PendingChange
        )


def _moved(ad: AdSignals, ads: Sequence[str], known: Known, policy: Policy) -> AdSignals:
    """A unit's ads weigh alike: how its budget is split over them is Meta's."""
    records = [known.predictions.get(one) for one in ads]
    asked = records if ad.dna is None else []
    likes = [like for one in asked if (like := _likeness(one, known, policy)) is not None]
    words = [word for one in records if (word := _wisdom(one, known, policy)) is not None]
    said = chain(*(like.reasons for like in likes), *(word.reasons for word in words))
    return replace(
        ad,
        dna=_mean([like.score for like in likes]) if ad.dna is None else ad.dna,
        wisdom=_mean([word.ratio for word in words]),
        moved_by=tuple(dict.fromkeys([*ad.moved_by, *said]))[:_MOST_REASONS],
    )


def _likeness(record: PredictionRecord | None, known: Known, policy: Policy) -> Likeness | None:
    """The model's word, for it has learned from the patterns too; without one, the patterns'."""
    if record is None:
        return None
    most = policy.sampler.prior_move
    heard = record.predicted
    if heard is not None and heard.model_version not in known.models:
        heard = None
    said = likeness.of_prediction(heard, known.usual_ctr, policy.likeness, most)
    return said or likeness.of_patterns(record.features, known.patterns, most)


def _wisdom(record: PredictionRecord | None, known: Known, policy: Policy) -> Wisdom | None:
    if known.release is None:
        return None
    features = record.features if record else None
    return sharing.wisdom(features, known.release, newness=known.newness, prior=policy.sampler)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
