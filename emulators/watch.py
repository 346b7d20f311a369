"""A running cloud seen from outside: drop a video, follow its flow, collect what came of it.

Everything goes through the clients a user has: google-cloud-storage, google-cloud-firestore and
facebook-business.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import Documents, Query
from geminivideo.events import ObjectRef
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    Blueprint,
    Flow,
    HistoryRow,
    PendingChange,
    RenderJob,
    Scene,
    Variation,
)
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.flows import Group, group_path, path_of, runs_of
from geminivideo.runtime.runs import StepRun

from emulators.environment import environment
from emulators.profile import AD_ACCOUNT, DEFAULT_AD_ACCOUNT, HUBSPOT_PORTAL

if TYPE_CHECKING:
    from google.cloud import storage

    from emulators.market import Market
    from emulators.running import Running

DEMO_ACCOUNT = "demo"
_AD_FIELDS = ("id", "name", "status", "effective_status", "adset_id", "campaign_id")


@dataclass(frozen=True, kw_only=True)
class AdAtMeta:
    """An ad as the Graph API shows it."""

    id: str
    name: str
    status: str
    effective_status: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a flow left behind, in documents and at Meta."""

    flow: Flow | None
    runs: tuple[StepRun, ...] = ()
    scenes: tuple[Scene, ...] = ()
    blueprints: tuple[Blueprint, ...] = ()
    variations: tuple[Variation, ...] = ()
    changes: tuple[PendingChange, ...] = ()
    history: tuple[HistoryRow, ...] = ()
    ads: tuple[AdAtMeta, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


class Watcher:
    """The clients of one cloud."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.clock = Clock.from_env(running.env)
        with environment(running.env):
            self.documents = Documents(running.project)
            _ = self.documents.client
            self.files = _storage_client(running.project)

    def seed_accounts(self, market: Market | None = None) -> None:
        """The demo's account in mode ``auto``, and ``default`` as a new account is: ``approve``.

        Accounts that are there already stay as their owner left them. The demo's stages are worth
        what the market behind its ads says.
        """
        if market is not None:
            self.documents.set(f"stage_maps/{DEMO_ACCOUNT}", market.stage_map())
        if self.documents.get(f"accounts/{DEMO_ACCOUNT}", Account) is None:
            self.seed_account()
        if self.documents.get("accounts/default", Account) is None:
            self.documents.set("accounts/default", _account("default", DEFAULT_AD_ACCOUNT))

    def seed_account(self, account_id: str = DEMO_ACCOUNT) -> Account:
        """An ad account in mode ``auto`` (a new account's default stays ``approve``)."""
        account = _account(account_id)
        self.documents.set(f"accounts/{account_id}", account)
        policy = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
        self.documents.set(f"policies/{account_id}", policy)
        return account

    def drop(self, video: Path, account_id: str = DEMO_ACCOUNT) -> ObjectRef:
        """Upload a file into the uploads bucket; the bucket's notification does the rest."""
        name = f"{account_id}/{video.name}"
        blob = self.files.bucket(self.running.uploads_bucket).blob(name)
        blob.metadata = {"account": account_id}
        kind = mimetypes.guess_type(video.name)[0] or "application/octet-stream"
        blob.upload_from_filename(str(video), content_type=kind)
        return ObjectRef(
            bucket=self.running.uploads_bucket, name=name, generation=int(blob.generation)
        )

    def flow(self, flow_id: str) -> Flow | None:
        """The flow's record, None until its first step has begun."""
        return self.documents.get(path_of(flow_id), Flow)

    def runs(self, flow_id: str) -> tuple[StepRun, ...]:
        """The step runs of a flow, oldest first."""
        return tuple(runs_of(self.documents, flow_id))

    def changes(self, flow_id: str) -> tuple[PendingChange, ...]:
        """The changes of a flow, by id."""
        return self._of_flow("pending_ad_changes", PendingChange, flow_id)

    def expected(self, flow_id: str) -> dict[str, int]:
        """How many items the fanned-out steps of a flow have in all, once that is known."""
        found: dict[str, int] = {}
        features = self.documents.get(group_path(flow_id, "features"), Group)
        if features is not None:
            found["extract_features"] = len(features.expected)
        jobs = self._of_flow("render_jobs", RenderJob, flow_id)
        if jobs:
            found["render"] = sum(len(job.variation_ids) for job in jobs)
        return found

    def latest_flows(self, limit: int = 20) -> list[Flow]:
        """The newest flows first."""
        return self.documents.query(Query("flows", order=["-created_at"], limit=limit), Flow)

    def facts(self, flow_id: str, meta_token: str) -> Facts:
        """All documents of a flow, and the ads of its account read from Meta."""
        flow = self.flow(flow_id)
        changes = self.changes(flow_id)
        account = self.documents.get(f"accounts/{flow.account_id}", Account) if flow else None
        return Facts(
            flow=flow,
            runs=self.runs(flow_id),
            scenes=self._of_flow("scenes", Scene, flow_id),
            blueprints=self._of_flow("blueprints", Blueprint, flow_id),
            variations=self._variations(flow_id),
            changes=changes,
            history=tuple(row for change in changes for row in self._history(change.id)),
            ads=self._ads(account, meta_token) if account else (),
        )

    def download(self, ref: ObjectRef, to: Path) -> Path:
        """The bytes of exactly this generation."""
        to.parent.mkdir(parents=True, exist_ok=True)
        blob = self.files.bucket(ref.bucket).blob(ref.name, generation=ref.generation)
        blob.download_to_filename(str(to))
        return to

    def _of_flow(self, collection: str, kind: Any, flow_id: str) -> tuple[Any, ...]:
        query = Query(collection, where=[("flow_id", "==", flow_id)])
        return tuple(sorted(self.documents.query(query, kind), key=lambda record: record.id))

    def _variations(self, flow_id: str) -> tuple[Variation, ...]:
        jobs = self._of_flow("render_jobs", RenderJob, flow_id)
        return tuple(
            variation
            for job in jobs
            for variation in self.documents.query(
                Query(f"render_jobs/{job.id}/variations"), Variation
            )
        )

    def _history(self, change_id: str) -> list[HistoryRow]:
        query = Query("ad_change_history", where=[("change_id", "==", change_id)])
        return self.documents.query(query, HistoryRow)

    def _ads(self, account: Account, token: str) -> tuple[AdAtMeta, ...]:
        from facebook_business.adobjects.adaccount import AdAccount
        from facebook_business.api import FacebookAdsApi
        from facebook_business.session import FacebookSession

        session = FacebookSession(app_id=None, app_secret=None, access_token=token)
        session.GRAPH = self.running.env["GV_META_GRAPH_URL"]
        owner = AdAccount(account.ad_account_id, api=FacebookAdsApi(session))
        found = owner.get_ads(fields=list(_AD_FIELDS), params={"limit": 100})
        return tuple(
            AdAtMeta(
                id=ad["id"],
                name=ad["name"],
                status=ad["status"],
                effective_status=ad["effective_status"],
            )
            for ad in found
        )


def _account(account_id: str, ad_account_id: str = AD_ACCOUNT) -> Account:
    """An ad account at the Meta double, which knows every account that is asked for."""
    return Account(
        id=account_id,
        ad_account_id=ad_account_id,
        page_id="2000000000000001",
        link_url="https://example.com/",
        hubspot_portal_id=HUBSPOT_PORTAL,
    )


def _storage_client(project: str) -> storage.Client:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(project=project, credentials=AnonymousCredentials())
