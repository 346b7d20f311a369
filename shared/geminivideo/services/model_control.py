"""Models over HTTP: which there are, which one is in use, and putting another one in its place."""

from __future__ import annotations

from dataclasses import dataclass

from geminivideo.cloud.files import ObjectGoneError
from geminivideo.learning_records import ModelVersion
from geminivideo.ml.ctr import ModelUnreadableError
from geminivideo.records import ChampionModel
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.services import model_registry

ROUTE = "/api/models/ctr"
OTHERS = "`geminivideo model list` shows those there are"


@dataclass(frozen=True, kw_only=True)
class Models:
    """The champion (null: the heuristic ranks) and every version, the latest first."""

    champion: str | None
    promoted_at: float | None
    by: str | None
    reason: str | None
    previous: list[str]
    versions: list[ModelVersion]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Which version, by whom and why. ``expected`` is the champion that it is to replace, when
    that matters: a promotion that finds another one is refused."""

    version: str
    by: str = ""
    reason: str = ""
    expected: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Who goes back to the champion before, and why."""

    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The model in use; ``version`` null: none is, and the heuristic ranks."""

    version: str | None
    promoted_at: float | None
    by: str | None
    reason: str | None
    previous: list[str]


def list_models(call: Call) -> Models:
    """Every version of the CTR model, and which one is in use."""
    found = model_registry.versions(
        call.ports.documents, call.number("limit", default=100, low=1, high=500)
    )
    now = _shown(model_registry.champion_of(call.ports.documents))
    return Models(
        champion=now.version,
        promoted_at=now.promoted_at,
        by=now.by,
        reason=now.reason,
        previous=now.previous,
        versions=found,
    )


def promote_model(call: Call) -> Champion:
    """Put a version in use; 409 when the champion is not the expected one, or it cannot be read."""
    asked: Promotion = call.body
    documents, version = call.ports.documents, identifier(asked.version, "version")
    found = documents.get(model_registry.path_of(version), ModelVersion)
    if found is None:
        raise ApiError(404, f"there is no version {version}: {OTHERS}")
    _check_readable(call, found)
    current = model_registry.champion_of(documents)
    expected = asked.expected or (current.version if current else None)
    by, reason = call.caller or asked.by or "unknown", asked.reason or "promoted by hand"
    try:
        made = model_registry.promote(
            documents, version, expected, by, reason, call.ports.clock.now()
        )
    except model_registry.ChampionMovedError as error:
        raise ApiError(409, error.reason) from error
    return _shown(made)


def _check_readable(call: Call, found: ModelVersion) -> None:
    try:
        model_registry.load(call.ports.files, found.artifact, found.checksum)
    except (ModelUnreadableError, ObjectGoneError) as error:
        raise ApiError(409, f"{found.version} cannot be used ({error}): {OTHERS}") from error


def roll_back_model(call: Call) -> Champion:
    """Go back to the champion before this one; without one, to the heuristic."""
    asked: Rollback = call.body
    by = call.caller or asked.by or "unknown"
    try:
        return _shown(
            model_registry.roll_back(call.ports.documents, by, asked.reason, call.ports.clock.now())
        )
    except model_registry.NoVersionError as error:
        raise ApiError(409, str(error)) from error


def _shown(found: ChampionModel | None) -> Champion:
    if found is None:
        return Champion(version=None, promoted_at=None, by=None, reason=None, previous=[])
    return Champion(
        version=found.version,
        promoted_at=found.promoted_at,
        by=found.by or None,
        reason=found.reason or None,
        previous=list(found.previous),
    )


def serve(api: Api) -> None:
    """Show, promote and roll back on a service."""
    api.get(ROUTE, answer=Models, query=("limit",))(list_models)
    api.post(f"{ROUTE}/promote", body=Promotion, answer=Champion)(promote_model)
    api.post(f"{ROUTE}/rollback", body=Rollback, answer=Champion)(roll_back_model)
