"""What the environment tells a function about where it runs; read once, never guessed.

The Pulumi program sets these for every function and job; the local cloud takes them from the
same graph. The standard ``*_EMULATOR_HOST`` variables and ``*_ENDPOINT`` overrides are read by
the ports in ``geminivideo.cloud`` alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


class SettingMissingError(RuntimeError):
    """A required environment variable is not set; the message names it and who sets it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"environment variable {name} is not set; infra declares it per function")


def required(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The value of ``name``; raises ``SettingMissingError`` when it is absent or empty."""
    value = environ.get(name, "")
    if not value:
        raise SettingMissingError(name)
    return value


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Project, region and resource names of this deployment."""

    project: str
    region: str
    uploads_bucket: str
    media_bucket: str
    models_bucket: str
    executor_url: str = ""
    executor_invoker: str = ""
    changes_queue: str = ""
    render_job: str = ""
    retrain_job: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read ``GOOGLE_CLOUD_PROJECT``, ``GV_REGION`` and the bucket names; raises by name."""
        return cls(
            project=required("GOOGLE_CLOUD_PROJECT", environ),
            region=required("GV_REGION", environ),
            uploads_bucket=required("GV_UPLOADS_BUCKET", environ),
            media_bucket=required("GV_MEDIA_BUCKET", environ),
            models_bucket=required("GV_MODELS_BUCKET", environ),
            executor_url=environ.get("GV_EXECUTOR_URL", ""),
            executor_invoker=environ.get("GV_EXECUTOR_INVOKER", ""),
            changes_queue=environ.get("GV_CHANGES_QUEUE", ""),
            render_job=environ.get("GV_RENDER_JOB", ""),
            retrain_job=environ.get("GV_RETRAIN_JOB", ""),
        )
