"""Ingest: is the upload a usable video of a known ad account? Bad input ends here, explained."""

from geminivideo.drive_intel.intake import account_of, video_of
from geminivideo.drive_intel.probe import UnusableVideoError, probe
from geminivideo.events import VideoIngested, VideoUploaded
from geminivideo.records import Account
from geminivideo.runtime.step import Rejected, Step, step


@step("ingest_video")
def main(event: VideoUploaded, step: Step) -> VideoIngested:
    account_id = account_of(event)
    step.start_flow("creative", account_id, event.video)
    if step.documents.get(f"accounts/{account_id}", Account) is None:
        raise Rejected(
            f"There is no ad account '{account_id}': create accounts/{account_id} first."
        )
    path = step.files.download(event.video, step.workdir / "source")
    try:
        found = probe(path, step.policy.ingest)
    except UnusableVideoError as error:
        raise Rejected(error.reason) from error
    step.put(f"videos/{event.flow_id}", video_of(found, event, account_id, step.clock.now()))
    return VideoIngested(flow_id=event.flow_id, video=event.video)
