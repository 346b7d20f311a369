"""``geminivideo demo``: one video through the whole flow on a fresh cloud, and the verdict."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from geminivideo.degraded import sentence
from geminivideo.events import flow_id_of
from rich.console import Console
from rich.table import Table

from emulators import progress, verdict
from emulators.cloud import PORT_BASE, ROOT, LocalCloud
from emulators.running import Running
from emulators.serving import PortInUseError
from emulators.watch import Facts, Watcher

FOLDER = Path(".local/demo")
SAMPLE = ROOT / "samples" / "bbb_spoken.mp4"
LIMIT_S = 1200.0


class SampleMissingError(RuntimeError):
    """There is no video to show."""

    def __init__(self, video: Path) -> None:
        super().__init__(f"{video} does not exist: name a video with --video")


def run(video: Path, folder: Path, port_base: int | None, console: Console) -> LocalCloud:
    """Start a fresh cloud for a demo; on the usual ports, or on free ones when those are taken."""
    if not video.is_file():
        raise SampleMissingError(video)
    try:
        return _cloud(folder, PORT_BASE if port_base is None else port_base)
    except PortInUseError as error:
        if port_base is not None:
            raise
        console.print(f"port {error.port} is taken; using free ports instead")
        return _cloud(folder, 0)


def show(cloud: LocalCloud, video: Path, folder: Path, console: Console) -> list[str]:
    """Drop the video, follow it to its end, report; returns what is not true (empty: all is)."""
    watcher = Watcher(Running.find(cloud.state_dir))
    watcher.seed_account()
    flow_id = flow_id_of(watcher.drop(video))
    console.print(f"dropped {video.name} into gs://{cloud.uploads_bucket}: flow {flow_id}")
    late = []
    try:
        progress.follow(watcher, flow_id, console, LIMIT_S)
    except progress.FlowStuckError as error:
        late = [f"{error}."]
    facts = collect(watcher, flow_id, cloud.meta_token, folder / "ads")
    report = folder / "report.json"
    report.write_text(json.dumps(verdict.report(facts, flow_id), indent=2) + "\n")
    _print_result(facts, report, cloud, console)
    return late + verdict.complaints(facts)


def collect(watcher: Watcher, flow_id: str, meta_token: str, ads: Path) -> Facts:
    """The facts of a flow, with every rendered file copied into ``ads``."""
    facts = watcher.facts(flow_id, meta_token)
    shutil.rmtree(ads, ignore_errors=True)
    files = {
        variation.id: _relative(
            watcher.download(variation.media, ads / _file_name(flow_id, variation.id))
        )
        for variation in facts.variations
        if variation.media is not None
    }
    return replace(facts, files=files)


def _cloud(folder: Path, port_base: int) -> LocalCloud:
    return LocalCloud(folder / "cloud", port_base=port_base, fresh=True).start()


def _file_name(flow_id: str, variation_id: str) -> str:
    """The folder holds one flow's ads: its id need not stand in every name."""
    return variation_id.removeprefix(f"{flow_id}-") + ".mp4"


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path


def _print_result(facts: Facts, report: Path, cloud: LocalCloud, console: Console) -> None:
    watched = {row["change_id"]: row for row in verdict.report(facts, "")["ads"]}
    by_variation = {change.variation_id: change for change in facts.changes}
    scores = {blueprint.id: blueprint.council_score for blueprint in facts.blueprints}
    folder = _relative(report.parent / "ads")
    view = Table(title=f"Ads made, in {folder}{os.sep}", title_justify="left")
    for heading in ("file", "size", "seconds", "Council", "checks", "ad at Meta", "status"):
        view.add_column(heading, overflow="fold")
    for variation in facts.variations:
        file = facts.files.get(variation.id)
        change = by_variation.get(variation.id)
        ad = watched.get(change.id, {}) if change else {}
        passed = sum(check.passed for check in variation.checks)
        view.add_row(
            file.name if file else variation.reason or "not rendered",
            f"{variation.width}x{variation.height}",
            _number(variation.duration_s),
            _number(scores.get(variation.blueprint_id)),
            f"{passed}/{len(variation.checks)}",
            ad.get("meta_id") or "-",
            ad.get("status") or "-",
        )
    console.print(view)
    for reason in verdict.degraded(facts):
        console.print(f"degraded: {reason}: {sentence(reason)}", highlight=False)
    console.print(f"report: {_relative(report)}", highlight=False)
    console.print(f"logs:   {_relative(cloud.state_dir / 'logs')}{os.sep}", highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
