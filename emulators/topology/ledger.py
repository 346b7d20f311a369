"""What earlier applies have made on a local cloud: the part of Pulumi's state that a cloud needs.

Only what stands here is deleted when the program no longer declares it; what somebody made by hand
is nobody's to delete. A resource is claimed before it is created, so that a crash in between
leaves nothing without an owner.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from emulators.topology.graph import Resource
from emulators.topology.record import write_whole


class Ledger:
    """The resources that were applied, as they were declared then; kept in ``path`` if given."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._owned = _read(path)

    def earlier(self, resource: Resource) -> Resource | None:
        """The resource as it was last applied; None when it is not ours."""
        return self._owned.get(_key(resource))

    def claim(self, resource: Resource) -> None:
        """It is about to be created."""
        self._owned[_key(resource)] = resource
        self._save()

    def settle(self, resource: Resource) -> None:
        """It stands as declared; what is not ours stays so."""
        if self._owned.get(_key(resource), resource) != resource:
            self._owned[_key(resource)] = resource
            self._save()

    def release(self, resource: Resource) -> None:
        """It is gone."""
        if self._owned.pop(_key(resource), None) is not None:
            self._save()

    def owned(self) -> list[Resource]:
        """Everything that was applied and not deleted since."""
        return list(self._owned.values())

    def _save(self) -> None:
        if self._path is not None:
            write_whole(msgspec.json.encode(list(self._owned.values())), self._path)


def _key(resource: Resource) -> tuple[str, str]:
    return resource.type, resource.id


def _read(path: Path | None) -> dict[tuple[str, str], Resource]:
    if path is None or not path.exists():
        return {}
    found = msgspec.json.decode(path.read_bytes(), type=list[Resource])
    return {_key(resource): resource for resource in found}
