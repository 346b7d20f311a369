"""``/api/video/process``: one asset, one of five operations, each from what the system has.

What is not known of the asset is ``data_status: insufficient``, never a figure of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any, TypeVar

import msgspec

from geminivideo.cloud.documents import Query
from geminivideo.decoding import learned
from geminivideo.degraded import DEFAULT_STRATEGY
from geminivideo.policy import CouncilPolicy
from geminivideo.records import Blueprint, Brief, Flow, Scene, Transcript, Video
from geminivideo.runtime.flows import path_of
from geminivideo.runtime.http import Api, ApiError, Call, Reply, is_id
from geminivideo.services import assets, renders
from geminivideo.services.plan_material import material_of
from geminivideo.titan_core import critics, session

T = TypeVar("T")
INSUFFICIENT, COMPLETE = "insufficient", "complete"
NO_DNA_MODEL = "no-dna-model"
_HOOK_S = 3.0


@dataclass(frozen=True, kw_only=True)
class VideoOperation:
    """``operation`` analyze, generate_variations, optimize_hook, extract_dna or
    create_battle_plan on an asset; ``params`` are the operation's own."""

    video_id: str
    operation: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VideoProcessed:
    """The operation's result, or the job that makes it (``/api/render/jobs/{job_id}``)."""

    video_id: str
    operation: str
    status: str
    data_status: str
    result: Any = None
    job_id: str | None = None
    reason: str | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ClipsWanted:
    """How many clips an analysis shows, best first."""

    top: int = 10
    features: bool = False


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where variations are for; ``platform`` when there is one."""

    variations: list[str] = field(default_factory=list)
    platform: str = "reels"
    blueprint_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlanWanted:
    """The brief of a battle plan."""

    target_variations: int = 10
    product_name: str | None = None
    offer: str | None = None
    target_avatar: str | None = None
    pain_points: list[str] = field(default_factory=list)
    desires: list[str] = field(default_factory=list)


def serve(api: Api) -> None:
    """Answer ``/api/video/process``."""
    api.post("/api/video/process", body=VideoOperation, answer=VideoProcessed, later=True)(process)


def process(call: Call) -> VideoProcessed | Reply:
    """Analyse an asset, render variations, weigh its hooks, describe its DNA, or plan its ads."""
    asked: VideoOperation = call.body
    if asked.operation not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        raise ApiError(422, f"operation {asked.operation[:40]!r} is not one of {known}")
    flow_id = _flow(call, asked.video_id)
    if flow_id is None:
        return _unknown(asked, f"no asset {asked.video_id}")
    return _OPERATIONS[asked.operation](call, asked, flow_id)


def _flow(call: Call, video_id: str) -> str | None:
    """The flow of an asset id, or of an upload's own ``video_id`` (its object's name)."""
    documents = call.ports.documents
    if is_id(video_id):
        return video_id if documents.get(path_of(video_id), Flow) is not None else None
    found = assets.list_assets(documents, 1, video_id).assets
    return found[0].asset_id if found else None


def _unknown(asked: VideoOperation, reason: str) -> VideoProcessed:
    return VideoProcessed(
        video_id=asked.video_id,
        operation=asked.operation,
        status="completed",
        data_status=INSUFFICIENT,
        reason=reason,
    )


def _known(asked: VideoOperation, result: Any, degraded: Sequence[str] = ()) -> VideoProcessed:
    return VideoProcessed(
        video_id=asked.video_id,
        operation=asked.operation,
        status="completed",
        data_status=COMPLETE,
        result=result,
        degraded=list(dict.fromkeys(degraded)),
    )


def _params(asked: VideoOperation, kind: type[T]) -> T:
    try:
        return msgspec.convert(asked.params, learned(kind), strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(422, f"params are not understood: {error}") from error


def _analyse(call: Call, asked: VideoOperation, flow_id: str) -> VideoProcessed:
    wanted = _params(asked, ClipsWanted)
    if not 1 <= wanted.top <= 100:
        raise ApiError(422, "params.top must be 1 to 100")
    documents = call.ports.documents
    video = documents.get(f"videos/{flow_id}", Video)
    clips = assets.clips_of(
        documents, flow_id, ranked=True, top=wanted.top, features=wanted.features
    )
    if video is None or not clips.clips:
        return _unknown(asked, f"asset {flow_id} is not analysed yet")
    heard = documents.get(f"transcripts/{flow_id}", Transcript)
    said = None if heard is None or heard.words is None else [word.text for word in heard.words]
    result = {
        "asset": assets.asset_of(assets.find_flow(documents, flow_id), video),
        "clips": clips.clips,
        "transcript": None if said is None else " ".join(said),
        "language": heard.language if heard else None,
    }
    reasons = [reason for clip in clips.clips for reason in clip.degraded]
    return _known(asked, result, [*reasons, *(heard.degraded if heard else ())])


def _variations(call: Call, asked: VideoOperation, flow_id: str) -> Reply:
    wanted = _params(asked, Places)
    remix = renders.Remix(
        asset_id=flow_id,
        blueprint_id=wanted.blueprint_id,
        platform=wanted.platform,
        variations=wanted.variations,
    )
    started = renders.start_remix(replace(call, body=remix))
    shown = VideoProcessed(
        video_id=asked.video_id,
        operation=asked.operation,
        status=started.status,
        data_status=COMPLETE,
        job_id=started.job_id,
        degraded=list(started.degraded),
    )
    return Reply(shown, 202)


def _hooks(call: Call, asked: VideoOperation, flow_id: str) -> VideoProcessed:
    """The opening lines of the asset's plans, as the Council's hook critic scores them: no ad
    has run with them, so nothing is said of clicks."""
    query = Query("blueprints", [("flow_id", "==", flow_id)])
    planned = call.ports.documents.query(query, Blueprint)
    material = material_of(call.ports.documents, flow_id, Brief())
    if not planned or material is None:
        return _unknown(asked, f"asset {flow_id} has no plans yet")
    judge = next(critic for critic in critics.RULE_COUNCIL if critic.name == "hook-critic")
    judged = [(plan, judge.judge(plan, material, CouncilPolicy())) for plan in planned]
    ordered = sorted(judged, key=lambda one: (-(one[1].score or 0.0), one[0].id))
    lines = {plan.hook_text: (plan, verdict) for plan, verdict in reversed(ordered)}
    hooks = [
        {
            "hook_text": plan.hook_text,
            "hook_type": plan.hook_type,
            "score": verdict.score,
            "reason": verdict.reason,
            "blueprint_id": plan.id,
        }
        for plan, verdict in reversed(lines.values())
    ]
    return _known(asked, {"best": hooks[0], "hooks": hooks}, [DEFAULT_STRATEGY])


def _dna(call: Call, asked: VideoOperation, flow_id: str) -> VideoProcessed:
    """What was measured of the asset by part. ``dna_score`` is null: no model has learned which
    of it works."""
    documents = call.ports.documents
    scenes = documents.query(Query("scenes", [("flow_id", "==", flow_id)]), Scene)
    measured = sorted((s for s in scenes if s.features is not None), key=lambda s: s.index)
    if not measured:
        return _unknown(asked, f"asset {flow_id} is not analysed yet")
    heard = documents.get(f"transcripts/{flow_id}", Transcript)
    length = max(scene.end_s for scene in measured)
    result = {
        "dna_score": None,
        "components": {
            "hook": _hook_of(measured, heard),
            "visual": _means(measured, "motion", "brightness", "contrast", "saturation"),
            "audio": _audio(measured, heard, length),
            "pacing": {
                "scenes": len(scenes),
                "mean_scene_s": round(length / len(scenes), 3),
                "cuts_per_minute": round((len(scenes) - 1) * 60 / length, 2),
            },
            "copy": {"on_screen": _texts(measured)},
            "cta": None,
        },
    }
    return _known(asked, result, [NO_DNA_MODEL])


def _hook_of(scenes: Sequence[Scene], heard: Transcript | None) -> dict[str, Any]:
    """The first three seconds: words said, texts shown, whether a face is seen."""
    early = [scene for scene in scenes if scene.start_s < _HOOK_S]
    known = [scene.features.faces for scene in early if scene.features]
    faces = [face for one in known for face in one or () if face.at_s < _HOOK_S]
    words = None if heard is None else heard.words
    return {
        "said": None
        if words is None
        else " ".join(word.text for word in words if word.start_s < _HOOK_S),
        "on_screen": [
            text.text
            for scene in early
            if scene.features
            for text in scene.features.texts or ()
            if text.at_s < _HOOK_S
        ],
        "face": None if all(one is None for one in known) else bool(faces),
    }


def _means(scenes: Sequence[Scene], *names: str) -> dict[str, float | None]:
    """The mean of each measure over the scenes by their length; None where none has it."""
    return {name: _mean(scenes, name) for name in names}


def _mean(scenes: Sequence[Scene], name: str) -> float | None:
    known = [
        (getattr(scene.features, name), scene.end_s - scene.start_s)
        for scene in scenes
        if getattr(scene.features, name) is not None
    ]
    total = sum(length for _, length in known)
    return round(sum(value * length for value, length in known) / total, 5) if total else None


def _audio(scenes: Sequence[Scene], heard: Transcript | None, length: float) -> dict[str, Any]:
    levels = [s.features.loudness_lufs for s in scenes if s.features and s.features.loudness_lufs]
    words = None if heard is None else heard.words
    return {
        "loudness_lufs": round(fmean(levels), 2) if levels else None,
        "words_per_minute": None if words is None else round(len(words) * 60 / length, 1),
    }


def _texts(scenes: Sequence[Scene]) -> list[str]:
    shown = [text.text for s in scenes if s.features for text in s.features.texts or ()]
    return list(dict.fromkeys(shown))


def _battle_plan(call: Call, asked: VideoOperation, flow_id: str) -> VideoProcessed:
    """Plans by the rule-based Director and Council; ``/director/generate`` makes Gemini's."""
    wanted, policy = _params(asked, PlanWanted), CouncilPolicy()
    if not 1 <= wanted.target_variations <= policy.max_blueprints:
        raise ApiError(422, f"params.target_variations must be 1 to {policy.max_blueprints}")
    brief = Brief(
        product_name=wanted.product_name,
        offer=wanted.offer,
        target_avatar=wanted.target_avatar,
        pain_points=tuple(wanted.pain_points),
        desires=tuple(wanted.desires),
    )
    material = material_of(call.ports.documents, flow_id, brief)
    if material is None:
        return _unknown(asked, f"asset {flow_id} is not analysed yet")
    held = session.hold(material, policy, None, wanted.target_variations)
    result = {
        "battle_plan": f"{len(held.blueprints)} plans about {material.subject}",
        "blueprints": [asdict(plan) for plan in held.blueprints],
        "variations_count": len(held.blueprints),
    }
    return _known(asked, result, held.degraded)


_OPERATIONS: dict[str, Callable[[Call, VideoOperation, str], VideoProcessed | Reply]] = {
    "analyze": _analyse,
    "generate_variations": _variations,
    "optimize_hook": _hooks,
    "extract_dna": _dna,
    "create_battle_plan": _battle_plan,
}
