"""Pro work itself, wherever it is done: sources fetched, the tool run, what it made kept."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from geminivideo.cloud.files import Files, ObjectGoneError
from geminivideo.decoding import learned
from geminivideo.events import ProDue
from geminivideo.policy import Policy
from geminivideo.records import ProFile, ProJob, ProStatus
from geminivideo.runtime.step import Step
from geminivideo.services.pro_task import (
    Made,
    MadeFile,
    Senses,
    Task,
    Tool,
    UnreadableMediaError,
    suffix_of,
)
from geminivideo.video_agent.ffmpeg import SAFE_OPTIONS
from geminivideo.video_agent.source import played_s

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

FOLDER = "pro"
OPEN = (ProStatus.QUEUED, ProStatus.RUNNING)
_DOMAINS = (
    "geminivideo.video_agent",
    "geminivideo.drive_intel",
    "geminivideo.voices",
    "av.",
    "opentimelineio.",
)
_REPORT_EVERY_S = 2.0
_REASON_CHARS = 2000
_STILL = re.compile(rb"\x89PNG\r\n|\xff\xd8\xff|RIFF....WEBP", re.DOTALL)


def path_of(job_id: str) -> str:
    """The document of a Pro job."""
    return f"pro_jobs/{job_id}"


def work(event: ProDue, step: Step, tools: Mapping[str, Tool], senses: Senses) -> None:
    """One execution of the render job for a Pro job: its result is written with the run."""
    job = step.documents.require(path_of(event.pro_job_id), ProJob)
    if job.status not in OPEN or job.attempt != event.attempt:
        return
    tool = tools[job.tool]
    step.documents.update(path_of(job.id), {"status": ProStatus.RUNNING})
    policy = step.policy_of(job.account_id)
    report = _Reporter(step.documents, job.id)
    try:
        task = task_of(job, tool, step.files, step.documents, step.workdir, policy)
        made = tool.run(replace(task, senses=senses, report=report))
        done = completed(job, made, step.files, step.settings.media_bucket)
    except Exception as error:
        reason = named(error, step.workdir)
        if reason is None and step.attempt < step.max_attempts:
            raise
        step.logger.error("pro job failed", exc_info=error)
        done = failed(job, reason or f"{tool.name} failed; the job's log has the reason")
    step.put(path_of(job.id), replace(done, updated_at=step.clock.now()))


def task_of(
    job: ProJob, tool: Tool, files: Files, documents: Documents, workdir: Path, policy: Policy
) -> Task:
    folder = workdir / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    fetched: dict[str, Path] = {}
    seen: dict[str, Path] = {}
    length = 0.0
    for role, ref in job.sources.items():
        if ref.key not in seen:
            seen[ref.key] = files.download(ref, folder / f"{role}{suffix_of(ref.name)}")
        fetched[role] = seen[ref.key]
        length += 0.0 if role in tool.others else seconds_of(role, fetched[role])
    return Task(
        source_s=length,
        body=msgspec.json.decode(job.request, type=learned(tool.body)),
        files=fetched,
        refs=job.sources,
        workdir=workdir,
        policy=policy,
        documents=documents,
    )


def seconds_of(role: str, path: Path) -> float:
    """How long a media file says that it is; a still picture has no length.

    Raises ``UnreadableMediaError`` for what is neither: a playlist in disguise, for one, would
    make a decoder read other files.
    """
    import av

    try:
        with av.open(str(path), container_options=dict(SAFE_OPTIONS)) as container:
            said = float(container.duration or 0) / 1e6
        return said or played_s(path)
    except (av.FFmpegError, OSError) as error:
        with path.open("rb") as file:
            if _STILL.match(file.read(16)):
                return 0.0
        raise UnreadableMediaError(role) from error


def completed(job: ProJob, made: Made, files: Files, bucket: str) -> ProJob:
    return replace(
        job,
        status=ProStatus.COMPLETED,
        progress=1.0,
        files=tuple(_kept(one, files, bucket) for one in made.files),
        checks=made.checks,
        degraded=tuple(dict.fromkeys((*job.degraded, *made.degraded))),
        details=msgspec.json.encode(made.details, enc_hook=str).decode(),
        reason=None,
    )


def _kept(made: MadeFile, files: Files, bucket: str) -> ProFile:
    with made.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{FOLDER}/{digest}{suffix_of(made.path.name)}"
    return ProFile(
        name=made.shown,
        media=files.upload(made.path, bucket, name, made.content_type),
        content_type=made.content_type,
        size_bytes=made.path.stat().st_size,
        sha256=digest,
    )


def failed(job: ProJob, reason: str) -> ProJob:
    return replace(job, status=ProStatus.FAILED, reason=reason[:_REASON_CHARS])


def named(error: Exception, workdir: Path) -> str | None:
    """What the caller can do something about, in the error's own words; None for all else.

    The modules' errors and the decoder's are of this kind; places of this machine are left out.
    """
    if isinstance(error, (ObjectGoneError, UnreadableMediaError)):
        return str(error)
    if not f"{type(error).__module__}.".startswith(_DOMAINS):
        return None
    return str(error).replace(f"{workdir}/sources/", "").replace(f"{workdir}/", "")


class _Reporter:
    """Writes how far the work is, at most every two seconds."""

    def __init__(self, documents: Documents, job_id: str) -> None:
        self._documents, self._job_id = documents, job_id
        self._last = time.monotonic()

    def __call__(self, done: float) -> None:
        if time.monotonic() - self._last < _REPORT_EVERY_S:
            return
        self._last = time.monotonic()
        progress = round(min(max(done, 0.0), 1.0), 3)
        self._documents.update(path_of(self._job_id), {"progress": progress})
