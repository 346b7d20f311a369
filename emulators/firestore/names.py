"""Resource names: ``projects/P/databases/D/documents/c/d/...``, their validity and their order."""

from __future__ import annotations

import re
from functools import lru_cache

from emulators.firestore.errors import invalid_argument

DATABASE = re.compile(r"projects/[^/]+/databases/[^/]+")
_ROOT_PARTS = 5
_MAX_ID_BYTES = 1500
_MAX_SUBCOLLECTIONS = 100
_RESERVED = re.compile(r"__.*__", re.DOTALL)
# Names of the usual kind, which break no rule, by one look: most names are new when they are seen.
_PLAIN_NAME = re.compile(
    r"projects/[^/]+/databases/[^/]+/documents(?:/[^/._][^/]{0,300}/[^/._][^/]{0,300}){1,20}"
)
_NUMERIC_ID = re.compile(r"__id(-?\d+)__")

NameKey = tuple[tuple[int, int | str], ...]


@lru_cache(maxsize=1024)
def database_of(name: str) -> str:
    """``projects/P/databases/D`` of any resource name below it."""
    found = DATABASE.match(name)
    if found is None:
        raise invalid_argument(f'Resource name "{name}" names no project and database.')
    return found.group()


@lru_cache(maxsize=65536)
def document_name(name: str) -> str:
    """``name`` itself when it is a valid document name; raises INVALID_ARGUMENT."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    parts = _below_documents(name)
    if not parts or len(parts) % 2:
        raise invalid_argument(f'Document name "{name}" lacks a document id after a collection id.')
    _check_ids(name, parts)
    return name


@lru_cache(maxsize=65536)
def parent_name(name: str) -> str:
    """``name`` itself when it is the documents root or a document; raises INVALID_ARGUMENT."""
    parts = _below_documents(name)
    if len(parts) % 2:
        raise invalid_argument(f'Parent "{name}" is a collection; it must be a document or root.')
    _check_ids(name, parts)
    return name


def collection_id(value: str) -> str:
    """``value`` itself when it is a valid collection id; raises INVALID_ARGUMENT."""
    _check_ids(value, [value])
    return value


def collection_of(document: str) -> str:
    """The path of the collection that a document is in."""
    return document.rpartition("/")[0]


@lru_cache(maxsize=65536)
def name_key(name: str) -> NameKey:
    """Sorts names as Firestore does: by segment, numeric ids (``__id7__``) before strings."""
    return tuple(_segment_key(segment) for segment in name.split("/"))


def below_collection(collection: str, path: str) -> str | None:
    """The document of ``collection`` that the longer resource ``path`` is under, if any."""
    if not path.startswith(collection + "/"):
        return None
    return collection + "/" + path[len(collection) + 1 :].split("/", 1)[0]


def _segment_key(segment: str) -> tuple[int, int | str]:
    numeric = _NUMERIC_ID.fullmatch(segment)
    return (0, int(numeric.group(1))) if numeric else (1, segment)


def _below_documents(name: str) -> list[str]:
    parts = name.split("/")
    root = parts[:_ROOT_PARTS]
    if len(root) < _ROOT_PARTS or (root[0], root[2], root[4]) != (
        "projects",
        "databases",
        "documents",
    ):
        raise invalid_argument(
            f'Document name "{name}" must start with projects/P/databases/D/documents.'
        )
    return parts[_ROOT_PARTS:]


def _check_ids(name: str, ids: list[str]) -> None:
    if len(ids) > 2 * _MAX_SUBCOLLECTIONS:
        raise invalid_argument(f'Document name "{name}" is nested more than 100 levels deep.')
    for one in ids:
        if one in ("", ".", ".."):
            raise invalid_argument(f'Document name "{name}" contains a resource id "{one}".')
        if _RESERVED.fullmatch(one) and not _NUMERIC_ID.fullmatch(one):
            raise invalid_argument(f'Resource id "{one}" is invalid because it is reserved.')
        if len(one.encode()) > _MAX_ID_BYTES:
            raise invalid_argument("The key path element name is longer than 1500 bytes.")
