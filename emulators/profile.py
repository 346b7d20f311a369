"""What a program brings along that no graph says: its ports, its doubles, its local settings.

The product has one; a program that is not ours runs without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emulators.topology.program import Program

PRODUCT = "geminivideo"
PORT_BASE = 8000
OTHER_FUNCTIONS_FROM = 100
REGION = "us-central1"
META_SECRET = "meta-token"
HUBSPOT_TOKEN = "hubspot-token"
HUBSPOT_SECRET = "hubspot-secret"
HUBSPOT_TARGET = "hubspot-webhook"  # the function that HubSpot's double calls
HUBSPOT_PATH = "/api/webhook/hubspot"
HUBSPOT_PORTAL = 62515
META_READ_SECRET = "meta-read-token"
AD_ACCOUNT = "act_1000000000000001"  # at the Meta double, of the demo's account
DEFAULT_AD_ACCOUNT = "act_1000000000000002"  # of the account that owns what names none
UPLOADS = "uploads"
MEDIA = "media"
MODELS = "models"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """``settings`` are the stack's on this machine; ``places`` are ports counted from the base.

    ``open_functions`` may be called without a token here; ``secrets`` are made up at the first
    start; ``doubles`` are the endpoints of others that stand in for them.
    """

    project: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    open_functions: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = ()
    doubles: tuple[str, ...] = ()
    buckets: Mapping[str, str] = field(default_factory=dict)


PLAIN = Profile()


def profile_of(program: Program) -> Profile:
    """The product's own for the product, none for any other program."""
    return product() if program.name == PRODUCT else PLAIN


def product() -> Profile:
    """Meta, Vertex and Video Intelligence have doubles; the HTTPS services are open and fixed."""
    from geminivideo.topology import FUNCTIONS, SECRETS, Https

    https = {s.resource_name: s.wakes_on for s in FUNCTIONS if isinstance(s.wakes_on, Https)}
    others = [s.resource_name for s in FUNCTIONS if s.resource_name not in https]
    return Profile(
        project="geminivideo-local",
        # The value is never read: the token is a secret that the host hands out.
        settings={
            "metaToken": "not-a-token",
            "vision": "local",
            "council": "default",
            "embeddings": "local",
            **_models(os.environ),
        },
        places={
            **{name: door.local_port - PORT_BASE for name, door in https.items()},
            **{name: OTHER_FUNCTIONS_FROM + number for number, name in enumerate(others)},
        },
        open_functions=frozenset(https),
        secrets=tuple(SECRETS),
        doubles=("meta", "vertex", "vision", "hubspot"),
        buckets={f"GV_{suffix.upper()}_BUCKET": suffix for suffix in (UPLOADS, MEDIA, MODELS)},
    )


def _models(environ: Mapping[str, str]) -> dict[str, str]:
    """The models that whoever starts the cloud names, as settings of the stack.

    A path is made absolute: functions run in folders of their own.
    """
    from geminivideo.topology import MODEL_SETTINGS

    named = {key: environ.get(name, "") for name, key in MODEL_SETTINGS.items()}
    return {
        key: str(Path(said).resolve()) if Path(said).exists() else said
        for key, said in named.items()
        if said
    }
