"""Where a state directory's functions were reached, so that what it kept follows them elsewhere.

Queued tasks, push subscriptions, schedules and executions hold the URLs of functions. Those of
the cloud that wrote them may be another's by now: a snapshot is loaded beside the cloud that it
was saved from. So they are rewritten before any service starts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

FILE = "deployment.json"
_ENDS = ("", "/", "?", "#", ":")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The last cloud on a state directory: its project, and its functions' URLs by name."""

    project: str = ""
    urls: dict[str, str] = field(default_factory=dict)


def read(state_dir: Path) -> Deployment:
    """What the last start left; empty when there was none."""
    path = state_dir / FILE
    return (
        msgspec.json.decode(path.read_bytes(), type=Deployment) if path.exists() else Deployment()
    )


def follow(state_dir: Path, project: str, urls: Mapping[str, str]) -> int:
    """Point what is kept at ``urls`` and remember them; returns how many rows were changed.

    No service may run on the directory.
    """
    last = read(state_dir)
    moved = {
        url: urls[name]
        for name, url in last.urls.items()
        if name in urls and urls[name] != url and last.project == project
    }
    changed = _rewritten(state_dir, moved) if moved else 0
    partial_file = state_dir / f".{FILE}.new"
    deployment = Deployment(project=project, urls=dict(urls))
    partial_file.write_bytes(msgspec.json.encode(deployment))
    partial_file.replace(state_dir / FILE)
    return changed


def moved_url(moved: Mapping[str, str], text: str) -> str:
    """``text`` at its new address, when it is a URL of something that moved."""
    for old, new in moved.items():
        if text.startswith(old) and text[len(old) : len(old) + 1] in _ENDS:
            return new + text[len(old) :]
    return text


def _rewritten(state_dir: Path, moved: Mapping[str, str]) -> int:
    from google.cloud import pubsub_v1, run_v2, scheduler_v1, tasks_v2

    kept = (
        ("tasks", "tasks", tasks_v2.Task),
        ("pubsub", "subscriptions", pubsub_v1.types.Subscription),
        ("scheduler", "jobs", scheduler_v1.Job),
        ("run", "jobs", run_v2.Job),
        ("run", "executions", run_v2.Execution),
    )
    change = partial(moved_url, moved)
    return sum(
        _table(state_dir / f"{service}.sqlite", table, message, change)
        for service, table, message in kept
    )


def _table(path: Path, table: str, message: Any, change: Callable[[str], str]) -> int:
    """Rewrite the messages (``name``, ``body``) of one table; all or none."""
    if not path.exists():
        return 0
    kind = type(message.pb(message()))
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        rows = _rows(database, table)
        new = [(after, name) for name, body in rows if (after := _body(kind, body, change)) != body]
        if new:
            database.executemany(f"UPDATE {table} SET body = ? WHERE name = ?", new)
        database.execute("COMMIT")
    finally:
        database.close()
    return len(new)


def _rows(database: sqlite3.Connection, table: str) -> list[tuple[str, bytes]]:
    known = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return database.execute(f"SELECT name, body FROM {table}").fetchall() if known else []


def _body(kind: Any, body: bytes, change: Callable[[str], str]) -> bytes:
    message = kind.FromString(body)
    return bytes(message.SerializeToString()) if _changed(message, change) else body


def _changed(message: Any, change: Callable[[str], str]) -> bool:
    """Apply ``change`` to every text in a message, at any depth; whether one was another then."""
    before = message.SerializeToString(deterministic=True)
    for member, value in message.ListFields():
        _change_member(message, member, value, change)
    return bool(message.SerializeToString(deterministic=True) != before)


def _change_member(message: Any, member: Any, value: Any, change: Callable[[str], str]) -> None:
    if isinstance(value, str):
        setattr(message, member.name, change(value))
    elif member.message_type is None:
        if member.type == member.TYPE_STRING:
            value[:] = [change(text) for text in value]
    elif member.message_type.GetOptions().map_entry:
        texts = {key: text for key, text in value.items() if isinstance(text, str)}
        for key, text in texts.items():
            value[key] = change(text)
    else:
        for inner in [value] if hasattr(value, "ListFields") else value:
            _changed(inner, change)
