"""Who listens where: services and functions at fixed places from a base, or on free ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Self

import msgspec

from emulators.profile import OTHER_FUNCTIONS_FROM, Profile, product
from emulators.sockets import LOOPBACK, free_ports
from emulators.topology.record import write_whole

SERVICE_PORTS = {
    "pubsub": 10,
    "tasks": 11,
    "scheduler": 12,
    "firestore": 13,
    "storage": 14,
    "run": 15,
    "meta": 16,
    "vertex": 17,
    "identity": 18,
    "control": 19,
    "vision": 20,
    "hubspot": 21,
}
DOUBLES = frozenset({"meta", "vertex", "vision", "hubspot"})
_PLACES = "ports.json"


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Services by name, functions by resource name. Base 0: any port that is free."""

    base: int
    services: Mapping[str, int]
    functions: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def assign(cls, base: int, profile: Profile | None = None) -> Self:
        """The ports of the services, and of the functions that a profile has places for."""
        profile = profile or product()
        names = [n for n in SERVICE_PORTS if n not in DOUBLES or n in profile.doubles]
        if base == 0:
            return cls(base=0, services=dict(zip(names, free_ports(len(names)), strict=True)))
        return cls(
            base=base,
            services={name: base + SERVICE_PORTS[name] for name in names},
            functions={name: base + place for name, place in profile.places.items()},
        )

    def with_functions(self, names: Iterable[str], places: Mapping[str, int]) -> Self:
        """The ports of exactly these functions: those they have, or those of their places."""
        names = sorted(names)
        new = [name for name in names if name not in self.functions]
        if self.base == 0:
            given = dict(zip(new, free_ports(len(new)), strict=True))
        else:
            given = {name: self.base + places[name] for name in new}
        return replace(self, functions={n: {**self.functions, **given}[n] for n in names})

    def function_urls(self) -> dict[str, str]:
        """Resource name to ``http://127.0.0.1:PORT``."""
        return {name: f"http://{LOOPBACK}:{port}" for name, port in self.functions.items()}


def kept_places(state_dir: Path, profile: Profile, names: Iterable[str]) -> dict[str, int]:
    """Each function's place from the base, the same in every run on a state directory.

    A name that is new takes the first place that no other name has ever had there.
    """
    path = state_dir / _PLACES
    kept = msgspec.json.decode(path.read_bytes(), type=dict[str, int]) if path.exists() else {}
    places = {**kept, **profile.places}
    free = (place for place in count(OTHER_FUNCTIONS_FROM) if place not in places.values())
    for name in sorted(set(names) - set(places)):
        places[name] = next(free)
    if places != kept:
        write_whole(msgspec.json.encode(places), path)
    return places
