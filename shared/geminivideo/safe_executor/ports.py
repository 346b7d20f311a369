"""What the executor is given: documents, tasks, Meta, media, and whom it tells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from geminivideo.events import ObjectRef
from geminivideo.meta_client import GraphLostError as GraphLostError
from geminivideo.meta_client import GraphRefusedError as GraphRefusedError
from geminivideo.meta_client import Usage as Usage
from geminivideo.records import PendingChange

T = TypeVar("T")
R = TypeVar("R")


class Transaction(Protocol):
    """Reads first, then writes; all or nothing."""

    def read_ahead(self, *paths: str) -> None:
        """Read documents in one call; ``get`` then has them here."""

    def get(self, path: str, kind: type[T]) -> T | None:
        """The document as ``kind``, or None."""

    def create(self, path: str, record: Any) -> None:
        """Write a document that must not exist."""

    def set(self, path: str, record: Any) -> None:
        """Write the whole document."""

    def update(self, path: str, changes: Mapping[str, Any]) -> None:
        """Change members of a document; keys may be dotted field paths."""


class Documents(Protocol):
    """The document store."""

    def get(self, path: str, kind: type[T]) -> T | None:
        """The document as ``kind``, or None."""

    def transact(self, body: Callable[[Any], R]) -> R:
        """Run ``body(transaction)``, again when another writer was faster."""


class Tasks(Protocol):
    """The queue that wakes the executor."""

    def enqueue(self, change_id: str, at: float, name: str | None) -> None:
        """Wake the executor for the change at that time; a used name is no error."""


class Time(Protocol):
    """Product time."""

    def now(self) -> float:
        """UTC epoch seconds."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for the event for at most a product duration; True when it was set."""

    def sleep(self, seconds: float) -> None:
        """Wait for a product duration."""


@dataclass(frozen=True, kw_only=True)
class VideoState:
    """Where Meta's processing stands: ``processing``, ``ready`` or ``error``; its thumbnail."""

    status: str
    picture: str | None = None


class MediaUnavailableError(RuntimeError):
    """A media object could not be fetched; the message names it."""


class Graph(Protocol):
    """Meta. Raises ``GraphRefusedError`` or ``GraphLostError``, never anything with the token."""

    def find(self, step: str, parent: str, name: str) -> list[str]:
        """The ids of the live objects with exactly this name under the parent, oldest first."""

    def create(self, step: str, account: str, params: Mapping[str, Any]) -> str:
        """Create a campaign, adset, creative or ad; returns its id."""

    def upload_video(self, account: str, name: str, path: Path) -> str:
        """Upload a video file; returns its id."""

    def upload_image(self, account: str, path: Path) -> str:
        """Upload an image; returns its hash (the same picture has the same hash)."""

    def video(self, video_id: str) -> VideoState:
        """Where the processing of a video stands."""

    def read(self, step: str, object_id: str) -> dict[str, Any]:
        """What Meta shows of an object."""

    def update(self, step: str, object_id: str, params: Mapping[str, Any]) -> None:
        """Set members of an object: setting the same twice is setting it once."""

    def minimum_budget(self, account: str) -> int:
        """The least daily budget (minor units) that Meta takes for the account's ad sets."""

    def delete(self, step: str, object_id: str) -> None:
        """Delete an object; one that is gone already is no error."""

    def usage(self) -> Usage | None:
        """What the last answer said about our limits."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Everything outside the executor.

    ``fetch`` puts a media object into ``workdir``. ``dead_letter``, ``on_finished`` and ``alert``
    may be called more than once for one change and must be idempotent.
    """

    documents: Documents
    tasks: Tasks
    graph: Graph
    fetch: Callable[[ObjectRef, Path], Path]
    workdir: Path
    dead_letter: Callable[[PendingChange, str], None]
    on_finished: Callable[[PendingChange], None]
    alert: Callable[[str, str], None]
