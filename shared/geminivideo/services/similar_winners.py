"""The winners of an account that are most like a video, for its Director."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.degraded import WINNERS_NOT_COMPARED
from geminivideo.language import Embedder
from geminivideo.learning_records import WinnerEntry
from geminivideo.policy import WinnersPolicy
from geminivideo.rag.dna import PARTS
from geminivideo.rag.search import Wanted
from geminivideo.services.embedding import embedder
from geminivideo.services.winner_search import WinnerSearch
from geminivideo.services.winner_store import WinnerStore
from geminivideo.titan_core.examples import Example
from geminivideo.titan_core.material import Material

if TYPE_CHECKING:
    import logging

    from geminivideo.cloud.documents import Documents
    from geminivideo.cloud.files import Files
    from geminivideo.runtime.http import Call
    from geminivideo.runtime.settings import Settings
    from geminivideo.runtime.step import Step

_WORDS = 60


@dataclass(frozen=True)
class Port:
    """Where an account's winners are found, and in which mode it counts value."""

    documents: Documents
    files: Files
    settings: Settings
    policy: WinnersPolicy
    now: Callable[[], float]
    log: logging.Logger
    mode: str = "pipeline"

    @classmethod
    def of_step(cls, step: Step, account_id: str) -> Port:
        """As a step sees them."""
        policy = step.policy_of(account_id)
        return cls(
            step.documents, step.files, step.settings, policy.winners, step.clock.now, step.logger,
            policy.sampler.mode,
        )  # fmt: skip

    @classmethod
    def of_call(cls, call: Call, account_id: str) -> Port:
        """As a service sees them."""
        from geminivideo.runtime.policies import policy_of

        ports = call.ports
        policy = policy_of(ports.documents, account_id)
        return cls(
            ports.documents, ports.files, ports.settings, policy.winners, ports.clock.now,
            ports.log, policy.sampler.mode,
        )  # fmt: skip


@dataclass(frozen=True)
class Alike:
    """Winners, nearest first, and what was less than the best about finding them."""

    winners: tuple[Example, ...] = ()
    degraded: tuple[str, ...] = ()


def winners_like(material: Material, port: Port, model: Embedder | None = None) -> Alike:
    """The account's winners nearest to what is to be planned; none while it has no index.

    Without the text model, or when the store does not answer, there are none either, and that is
    said: an ad can be planned without examples, and winners that are not alike are none.
    """
    account_id = material.video.account_id
    model = model or embedder(port.settings.project)
    store = WinnerStore(
        port.documents, port.files, port.settings.models_bucket, model.source, port.policy,
        port.now, port.log,
    )  # fmt: skip
    question = question_of(material)
    if not question:
        return Alike()
    try:
        found = WinnerSearch(store, model).by_text(
            account_id, Wanted(), question, port.policy.examples
        )
    except Exception as error:
        from geminivideo.runtime.http import unavailable

        if (down := unavailable(error)) is None:
            raise
        port.log.warning("winners were not looked for: %s", down)
        return Alike(degraded=(WINNERS_NOT_COMPARED,))
    near = [
        _example(entry, similarity, port.mode)
        for entry, similarity in found.found
        if similarity is not None and similarity >= port.policy.min_similarity
    ]
    return Alike(tuple(near), found.degraded)


def question_of(material: Material) -> str:
    """What is to be planned, in words: the brief, then what is said and shown in the video."""
    brief = material.brief
    who = [brief.product_name, brief.offer, brief.target_avatar]
    told = [*who, *brief.pain_points, *brief.desires]
    said = " ".join(sentence.text for sentence in material.sentences).split()[:_WORDS]
    seen = [one.label for s in material.scenes if s.features for one in s.features.objects or ()]
    parts = [*filter(None, told), " ".join(said), ", ".join(dict.fromkeys(seen))]
    return ". ".join(part for part in parts if part)


def _example(entry: WinnerEntry, similarity: float, mode: str) -> Example:
    features, did = entry.dna.features, entry.performance
    return Example(
        ad_id=entry.ad_id,
        similarity=similarity,
        hook_type=features.hook_type if features else None,
        duration_s=features.duration_s if features else None,
        ctr=did.ctr,
        roas=did.roas if mode == "direct" else did.pipeline_roas,
        parts={part: told for part in PARTS if (told := getattr(entry.dna, part)) is not None},
    )
