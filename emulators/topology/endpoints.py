"""Where the services of the local cloud listen: what ``apply`` talks to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """``host:port`` of the gRPC services, ``http://host:port`` of the HTTP ones.

    ``function_urls`` maps a function's resource name (``ingest-video``) to its loopback URL;
    it is what ``record`` was given, kept here so that one value describes one local cloud.
    """

    pubsub: str
    firestore: str
    storage: str
    tasks: str
    scheduler: str
    run: str
    function_urls: dict[str, str] = field(default_factory=dict)
