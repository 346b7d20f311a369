"""What this stack is told: project, region, and the few settings of Pulumi.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi
from geminivideo.topology import MODEL_SETTINGS, NOT_CONFIGURED, BucketSpec, Need, StepSpec
from pulumi_gcp import organizations

RUNTIME = "python311"
ENTRY_POINT = "main"
# Environment variable -> the stack setting that chooses between the cloud's models and our own.
STRATEGY = {
    "GV_VISION": "vision",
    "GV_COUNCIL": "council",
    "GV_GEMINI_MODEL": "geminiModel",
    "GV_VERTEX_LOCATION": "vertexLocation",
    "GV_EMBEDDINGS": "embeddings",
}


# Without them the steps that need them say so: no insights, no deals.
OPTIONAL_SECRETS = {
    Need.META_READ_TOKEN: "metaReadToken",
    Need.HUBSPOT_TOKEN: "hubspotToken",
    Need.HUBSPOT_SECRET: "hubspotSecret",
}


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One stack's settings, and the names that follow from them."""

    root: Path
    project: str
    number: pulumi.Output[str]
    region: str
    log_level: str
    strategy: dict[str, str]
    callers: tuple[str, ...]
    alert_email: str
    webhook_urls: str
    webhook_signature: str
    secrets: dict[Need, pulumi.Output[str]]

    @classmethod
    def of_stack(cls, root: Path) -> Deployment:
        """Read the stack's configuration; a missing setting is an error that names it."""
        gcp, own = pulumi.Config("gcp"), pulumi.Config("geminivideo")
        project = gcp.require("project")
        return cls(
            root=root,
            project=project,
            number=organizations.get_project_output(project_id=project).number,
            region=gcp.require("region"),
            log_level=own.get("logLevel") or "INFO",
            strategy={
                **{name: own.require(key) for name, key in STRATEGY.items()},
                **{name: said for name, key in MODEL_SETTINGS.items() if (said := own.get(key))},
            },
            callers=_members(own.get("callers") or ""),
            alert_email=own.get("alertEmail") or "",
            webhook_urls=own.get("hubspotUrl") or "",
            webhook_signature=own.get("hubspotSignature") or "v3",
            secrets={
                Need.META_TOKEN: own.require_secret("metaToken"),
                **{need: _optional_secret(own, key) for need, key in OPTIONAL_SECRETS.items()},
            },
        )

    def bucket(self, spec: BucketSpec) -> str:
        """``{project}-{suffix}``: bucket names are global."""
        return f"{self.project}-{spec.suffix}"

    def service_url(self, step: StepSpec) -> pulumi.Output[str]:
        """The URL Cloud Run gives a service before it exists: name, project number, region.

        The executor needs its own URL to defer its work, which an output could not give it.
        """
        return pulumi.Output.concat(
            "https://", step.resource_name, "-", self.number, ".", self.region, ".run.app"
        )


def _optional_secret(own: pulumi.Config, key: str) -> pulumi.Output[str]:
    """Secret Manager takes no empty version, so what is not set is said in a word."""
    return own.get_secret(key) or pulumi.Output.secret(NOT_CONFIGURED)


def _members(raw: str) -> tuple[str, ...]:
    return tuple(member.strip() for member in raw.split(",") if member.strip())
