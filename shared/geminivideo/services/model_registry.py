"""The registry of CTR models: which version is in use, which were before, which are on trial.

``model_registry/ctr`` names the champion; ``model_registry/ctr/versions/{version}`` is every model
that was ever trained. Both change in one transaction that has read the champion it replaces.
Artifacts are content-addressed objects, written before any document names them: a process that is
killed leaves an object that nobody names, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import DocumentMissingError, Query
from geminivideo.learning_records import MODEL_VERSIONS, ModelVersion
from geminivideo.ml.ctr import CtrModel, ModelUnreadableError, load_champion
from geminivideo.ml.trials import State
from geminivideo.records import ChampionModel
from geminivideo.runtime.failures import Transient

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.cloud.files import Files
    from geminivideo.events import ObjectRef

NAME = "ctr"
PATH = f"model_registry/{NAME}"
_KEPT = 6  # models in one process: the champion, those on trial, and one that was just replaced
_REMEMBERED = 20  # champions before this one
_loaded: OrderedDict[tuple[ObjectRef, str], CtrModel] = OrderedDict()
_LOCK = Lock()


class ChampionMovedError(Transient):
    """The champion is another one than the challenger was judged against: judge it again."""

    def __init__(self, expected: str | None, found: str | None) -> None:
        super().__init__(f"the champion is {found}, not {expected}: judge again, then promote")


class NoVersionError(ValueError):
    """The registry has no such version, or none to go back to; the message says which."""


# Reading ---------------------------------------------------------------------------------------


def champion_of(documents: Documents) -> ChampionModel | None:
    """The model in use; None while there is none."""
    return documents.get(PATH, ChampionModel)


def path_of(version: str) -> str:
    """The document path of a version."""
    return f"{MODEL_VERSIONS}/{version}"


def versions(documents: Documents, limit: int = 100) -> list[ModelVersion]:
    """What was trained, the latest first."""
    return documents.query(Query(MODEL_VERSIONS, order=["-trained_at"], limit=limit), ModelVersion)


def shadows(documents: Documents) -> list[ModelVersion]:
    """The models on trial, the oldest first."""
    found = documents.query(
        Query(MODEL_VERSIONS, [("state", "==", State.SHADOW.value)]), ModelVersion
    )
    return sorted(found, key=lambda one: (one.trained_at, one.version))


def load(files: Files, artifact: ObjectRef, checksum: str = "") -> CtrModel:
    """The model of an artifact, kept by generation: a new champion is another generation.

    Raises ``ModelUnreadableError`` when it is damaged, not the one that was registered, or of
    another format, and ``ObjectGoneError``.
    """
    key = (artifact, checksum)
    with _LOCK:
        if key in _loaded:
            _loaded.move_to_end(key)
            return _loaded[key]
    model = _checked(files.read(artifact), checksum)
    with _LOCK:
        _loaded[key] = model
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
    return model


def _checked(document: bytes, checksum: str) -> CtrModel:
    if checksum and checksum_of(document) != checksum:
        raise ModelUnreadableError(
            "the model's object is not the one that was registered: its SHA-256 differs"
        )
    return load_champion(document)


def checksum_of(document: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(document).hexdigest()


def champion_model(documents: Documents, files: Files) -> CtrModel | None:
    """The champion, ready to predict; None while there is none. Raises as ``load`` does."""
    registered = champion_of(documents)
    return None if registered is None else load(files, registered.artifact, registered.checksum)


# Changing: inside a transaction, writes by path ------------------------------------------------

Writes = list[tuple[str, Any]]


def enthroned(
    transaction: Transaction,
    version: ModelVersion,
    expected: str | None,
    by: str,
    reason: str,
    now: float,
) -> Writes:
    """Make a version the champion; raises ``ChampionMovedError`` when ``expected`` is not it.

    The version's own document is among the writes. One that is the champion already is left as it
    is, so that the same promotion twice is one.
    """
    current = transaction.get(PATH, ChampionModel)
    if current is not None and current.version == version.version:
        return []
    if (current.version if current else None) != expected:
        raise ChampionMovedError(expected, current.version if current else None)
    previous = (current.version, *current.previous)[:_REMEMBERED] if current else ()
    pointer = _pointer(version, previous, by, reason, now)
    crowned = replace(version, state=State.CHAMPION.value, reason=reason)
    left = _retired(transaction, current, f"replaced by {version.version}")
    return [(PATH, pointer), (path_of(version.version), crowned), *left]


def _pointer(
    version: ModelVersion, previous: tuple[str, ...], by: str, reason: str, now: float
) -> ChampionModel:
    return ChampionModel(
        name=NAME,
        version=version.version,
        artifact=version.artifact,
        promoted_at=now,
        checksum=version.checksum,
        previous=previous,
        by=by,
        reason=reason,
    )


def _retired(transaction: Transaction, current: ChampionModel | None, reason: str) -> Writes:
    """The champion's own document as that of one before; none when it was never registered."""
    found = transaction.get(path_of(current.version), ModelVersion) if current else None
    if found is None:
        return []
    return [(path_of(found.version), replace(found, state=State.RETIRED.value, reason=reason))]


def promote(
    documents: Documents, version: str, expected: str | None, by: str, reason: str, now: float
) -> ChampionModel:
    """Put a version in use by hand; raises ``NoVersionError``, ``ChampionMovedError``."""

    def body(transaction: Transaction) -> ChampionModel:
        found = transaction.get(path_of(version), ModelVersion)
        if found is None:
            raise NoVersionError(f"there is no version {version}")
        writes = enthroned(transaction, found, expected, by, reason, now)
        return _written(transaction, writes)

    return documents.transact(body)


def _written(transaction: Transaction, writes: Writes) -> ChampionModel:
    """Write, and return what the pointer then is."""
    pointer = dict(writes).get(PATH) or transaction.require(PATH, ChampionModel)
    for path, record in writes:
        transaction.set(path, record)
    return pointer


def roll_back(documents: Documents, by: str, reason: str, now: float) -> ChampionModel | None:
    """Put the champion before this one in use again; None when there was none.

    Then nothing is in use and the heuristic ranks. Raises ``NoVersionError`` when no model is in
    use, or the one before is not registered.
    """

    def body(transaction: Transaction) -> ChampionModel | None:
        current = transaction.get(PATH, ChampionModel)
        if current is None:
            raise NoVersionError("no model is in use: there is nothing to roll back")
        why = f"rolled back by {by}: {reason}" if reason else f"rolled back by {by}"
        writes = _retired(transaction, current, why)
        if not current.previous:
            transaction.delete(PATH)
            for path, record in writes:
                transaction.set(path, record)
            return None
        return _written(transaction, [*_restored(transaction, current, by, why, now), *writes])

    return documents.transact(body)


def _restored(
    transaction: Transaction, current: ChampionModel, by: str, why: str, now: float
) -> Writes:
    before, *rest = current.previous
    try:
        found = transaction.require(path_of(before), ModelVersion)
    except DocumentMissingError as error:
        raise NoVersionError(
            f"{before}, which was before, is not registered: put another version in its place "
            "(`geminivideo model promote`)"
        ) from error
    reason = f"in use again: {current.version} was {why}"
    return [
        (PATH, _pointer(found, tuple(rest), by, reason, now)),
        (path_of(before), replace(found, state=State.CHAMPION.value, reason=reason)),
    ]
