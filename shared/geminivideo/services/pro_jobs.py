"""Pro work from a request to its result: done once, here while the caller waits, or by the job.

The id of a job is a digest of everything that its result follows from, so the record of finished
work is its cache. Results are objects of the media bucket named by their content.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from geminivideo.events import ObjectRef, ProDue
from geminivideo.policy import Policy
from geminivideo.records import Check, LibraryAsset, ProJob, ProStatus
from geminivideo.runtime.http import ApiError, Call, Reply
from geminivideo.runtime.policies import policy_of
from geminivideo.runtime.settings import required
from geminivideo.runtime.step import Ports
from geminivideo.services import pro_assets
from geminivideo.services.pro_sources import Located, locate
from geminivideo.services.pro_task import (
    SensesNeededError,
    Tool,
    account_of,
)
from geminivideo.services.pro_work import (
    OPEN,
    completed,
    failed,
    named,
    path_of,
    task_of,
)
from geminivideo.video_agent import asset_library

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Transaction

LOST = "the work ended without a result; it is started anew within minutes, or when asked for again"

# One piece of work at a time: the memory of a service is what one piece of work needs.
_SLOT = threading.BoundedSemaphore(1)


@dataclass(frozen=True, kw_only=True)
class ProFileView:
    """One file of a result; ``url`` is its ``gs://`` address."""

    name: str
    url: str
    content_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ProAnswer:
    """A Pro job: ``completed`` with its files and checks, or ``queued``, ``running``, ``failed``.

    ``url`` is the first file's; ``passed`` says whether every check passed (null when there was
    nothing to check); ``cached`` that an earlier request had made it. ``publishable`` is what the
    licences of the library's assets in it say, with the ``refusals`` that forbid it and the
    ``credits`` that must be shown; whose the other sources are is the caller's to know.
    """

    job_id: str
    status: str
    module: str
    progress: float
    url: str | None = None
    files: list[ProFileView] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    passed: bool | None = None
    degraded: list[str] = field(default_factory=list)
    details: Any = None
    reason: str | None = None
    cached: bool = False
    publishable: bool = True
    refusals: list[str] = field(default_factory=list)
    credits: list[str] = field(default_factory=list)


def ask(call: Call, tool: Tool) -> ProAnswer | Reply:
    """Answer a tool's request: 200 with the result, or 202 with the job to ask about."""
    _refuse(lambda: tool.check(call.body), call.ports)
    located = _located(call, tool)
    account = account_of(call.ports.documents, _refs(located))
    policy = policy_of(call.ports.documents, account)
    assets = pro_assets.assets_of(call.ports, _refs(located), account)
    job, ours = _claim(call.ports, _job(call, tool, located, account, policy, assets))
    if not ours:
        return _answered(job, tool, cached=True)
    small = sum(one.size_bytes for one in located.values()) <= policy.pro.wait_bytes
    done = _here(call.ports, job, tool, policy) if small else None
    if done is None:
        return _answered(_hand_over(call.ports, job), tool)
    if done.status is ProStatus.FAILED:
        raise ApiError(422, done.reason or "", job_id=done.id)
    return _answered(done, tool)


def show(call: Call, tools: Mapping[str, Tool]) -> ProAnswer | None:
    """A Pro job as it stands, or None when there is none of this id."""
    job = call.ports.documents.get(path_of(call.path["id"]), ProJob)
    if job is None:
        return None
    if job.status in OPEN and _is_lost(call.ports, job):
        job = call.ports.documents.require(path_of(job.id), ProJob)
        if job.status in OPEN:
            job = replace(job, status=ProStatus.QUEUED, reason=LOST)
    return answer_of(job, tools[job.tool].module if job.tool in tools else job.tool)


def answer_of(job: ProJob, module: str, *, cached: bool = False) -> ProAnswer:
    """A job as the API shows it."""
    files = [
        ProFileView(
            name=one.name,
            url=one.media.uri,
            content_type=one.content_type,
            size_bytes=one.size_bytes,
            sha256=one.sha256,
        )
        for one in job.files
    ]
    return ProAnswer(
        job_id=job.id,
        status=job.status.lower(),
        module=module,
        progress=job.progress,
        url=files[0].url if files else None,
        files=files,
        checks=list(job.checks),
        passed=all(check.passed for check in job.checks) if job.checks else None,
        degraded=list(job.degraded),
        details=msgspec.json.decode(job.details),
        reason=job.reason,
        cached=cached and job.status is ProStatus.COMPLETED,
        publishable=not job.refusals,
        refusals=list(job.refusals),
        credits=list(job.credits),
    )


def _answered(job: ProJob, tool: Tool, *, cached: bool = False) -> ProAnswer | Reply:
    shown = answer_of(job, tool.module, cached=cached)
    return shown if job.status is ProStatus.COMPLETED else Reply(shown, 202)


def _located(call: Call, tool: Tool) -> dict[str, Located]:
    policy = Policy().pro
    named = tool.sources(call.body)
    if len(named) > policy.max_sources:
        raise ApiError(422, f"at most {policy.max_sources} media files in one request")
    found = {role: locate(call.ports, text, role) for role, text in named.items()}
    if sum(one.size_bytes for one in found.values()) > policy.max_bytes:
        raise ApiError(422, f"the media are larger than {policy.max_bytes // 1024**3} GiB together")
    return found


def _refs(located: Mapping[str, Located]) -> dict[str, ObjectRef]:
    return {role: one.ref for role, one in located.items()}


def _job(
    call: Call,
    tool: Tool,
    located: Mapping[str, Located],
    account: str,
    policy: Policy,
    assets: Sequence[LibraryAsset],
) -> ProJob:
    """The job of a request, with the id that its whole cause gives it."""
    labels = tuple(dict.fromkeys(label for one in assets for label in asset_library.label(one)))
    terms = asset_library.terms(assets)
    request = msgspec.json.encode(call.body, order="deterministic")
    if len(request) > policy.pro.max_request_bytes:
        raise ApiError(422, f"the body is larger than {policy.pro.max_request_bytes} bytes")
    refs = _refs(located)
    keys = {role: ref.key for role, ref in refs.items()}
    cause = [tool.name, _without_paths(request, tool, call.body), keys, policy, labels, terms]
    cause.append(code_digest())
    digest = hashlib.sha256(msgspec.json.encode(cause, order="deterministic")).hexdigest()
    now = call.ports.clock.now()
    return ProJob(
        id=f"pro-{digest[:40]}", tool=tool.name, request=request.decode(), sources=refs,
        source_keys=tuple(sorted(keys.values())), account_id=account, status=ProStatus.RUNNING,
        attempt=1, created_at=now, updated_at=now, degraded=labels,
        refusals=terms.refusals, credits=terms.credits,
    )  # fmt: skip


def _without_paths(request: bytes, tool: Tool, body: Any) -> str:
    """The request without where its media lay: two copies of one file are one source."""
    text = request.decode()
    for role, path in sorted(tool.sources(body).items(), key=lambda item: -len(item[1])):
        text = text.replace(msgspec.json.encode(path).decode(), f'"{role}"')
    return text


@cache
def code_digest() -> str:
    """What the Pro modules are made of: changed code makes its results anew."""
    folder = Path(__file__).parent.parent / "video_agent"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _claim(ports: Ports, wanted: ProJob) -> tuple[ProJob, bool]:
    """The job as it stands and False, or as ours to do and True."""
    found = ports.documents.get(path_of(wanted.id), ProJob)
    lost = found is not None and found.status in OPEN and _is_lost(ports, found)

    def body(transaction: Transaction) -> tuple[ProJob, bool]:
        now = transaction.get(path_of(wanted.id), ProJob)
        same = found is not None and now is not None and now.attempt == found.attempt
        if now is not None and now.status is not ProStatus.FAILED and not (lost and same):
            return now, False
        ours = replace(wanted, attempt=now.attempt + 1 if now else 1)
        transaction.set(path_of(ours.id), ours)
        return ours, True

    return ports.documents.transact(body)


def _is_lost(ports: Ports, job: ProJob) -> bool:
    """Whether nobody works on an open job any more: its execution is over, or its service gone."""
    if not job.execution:
        return ports.clock.now() - job.updated_at > Policy().pro.abandoned_s
    from google.api_core.exceptions import NotFound

    from geminivideo.cloud.run_jobs import RunJobs

    try:
        return RunJobs().get(job.execution).done
    except NotFound:
        return True


def _here(ports: Ports, job: ProJob, tool: Tool, policy: Policy) -> ProJob | None:
    """The job done in this process, or None when it is the render job's."""
    if not _SLOT.acquire(blocking=False):
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="pro-") as folder:
            return _done_here(ports, job, tool, policy, Path(folder))
    finally:
        _SLOT.release()


def _done_here(
    ports: Ports, job: ProJob, tool: Tool, policy: Policy, workdir: Path
) -> ProJob | None:
    try:
        task = task_of(job, tool, ports.files, ports.documents, workdir, policy)
        if tool.rate * task.source_s > policy.pro.wait_s:
            return None
        made = tool.run(task)
        done = completed(job, made, ports.files, ports.settings.media_bucket)
    except SensesNeededError:
        return None
    except Exception as error:
        reason = named(error, workdir)
        done = failed(job, reason or f"{tool.name} failed; the service's log has the reason")
        _keep(ports, done)
        if reason is None:
            raise
        return done
    return _keep(ports, done)


def _keep(ports: Ports, job: ProJob) -> ProJob:
    kept = replace(job, updated_at=ports.clock.now())
    ports.documents.set(path_of(job.id), kept)
    return kept


def _hand_over(ports: Ports, job: ProJob) -> ProJob:
    """The job given to an execution of the render job; a caller is told when that fails."""
    from geminivideo.cloud.run_jobs import RunJobs

    queued = _keep(ports, replace(job, status=ProStatus.QUEUED))
    try:
        execution = RunJobs().run(required("GV_RENDER_JOB"), {ProDue.VARIABLE: job.id})
    except Exception:
        _keep(ports, failed(job, "the render job could not be started"))
        raise
    ports.documents.update(path_of(job.id), {"execution": execution})
    return replace(queued, execution=execution)


def _refuse(check: Any, ports: Ports) -> None:
    try:
        check()
    except Exception as error:
        reason = named(error, Path("/"))
        if reason is None:
            raise
        raise ApiError(422, reason) from error
