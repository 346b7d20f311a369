"""Whole local clouds, real clips made from the sample, and a way to follow flows.

Tests that only look at what became of a video share one cloud (``common_site``); a module that
kills, restarts or reconfigures starts its own (``new_site``).
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest
from geminivideo.events import flow_id_of
from geminivideo.policy import CouncilPolicy, Policy
from geminivideo.records import FlowStatus

from emulators.cloud import LocalCloud
from emulators.running import Running
from emulators.watch import Facts, Watcher

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "bbb_spoken.mp4"
LIMIT_S = 420.0


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


def cut(to: Path, start: float, length: float, *filters: str, sound: bool = True) -> Path:
    """A small real clip from the sample."""
    chain = ",".join([*filters, "scale=trunc(iw/4)*2:-2"])
    audio = ["-c:a", "aac"] if sound else ["-an"]
    ffmpeg(
        "-ss", str(start), "-t", str(length), "-i", str(SAMPLE), "-vf", chain,
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", *audio, str(to),
    )  # fmt: skip
    return to


class Site:
    """One cloud as a user sees it, with an account in mode auto that plans ``blueprints`` ads."""

    def __init__(self, cloud: LocalCloud, blueprints: int) -> None:
        self.cloud = cloud
        self.watcher = Watcher(Running.find(cloud.state_dir))
        account = self.watcher.seed_account()
        policy = self.watcher.documents.require(f"policies/{account.id}", Policy)
        few = replace(policy, council=CouncilPolicy(blueprints=blueprints))
        self.watcher.documents.set(f"policies/{account.id}", few)

    def drop(self, video: Path) -> str:
        """Upload a video; returns its flow."""
        return flow_id_of(self.watcher.drop(video))

    def wait_for(self, what: Callable[[], object], within_s: float = LIMIT_S) -> object:
        """Ask until there is an answer; fails with what was waited for."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.2)
        raise AssertionError(f"not within {within_s:.0f} s: {what}")

    def ended(self, flow_id: str) -> Facts:
        """The facts of a flow once it has ended."""

        def is_over() -> bool:
            flow = self.watcher.flow(flow_id)
            return flow is not None and flow.status is not FlowStatus.RUNNING

        self.wait_for(is_over)
        return self.facts(flow_id)

    def facts(self, flow_id: str) -> Facts:
        """What a flow has left so far; only the ads that its own changes made, and strays."""
        facts = self.watcher.facts(flow_id, self.cloud.meta_token)
        others = {
            change.meta_id
            for other in self.watcher.latest_flows()
            if other.id != flow_id
            for change in self.watcher.facts(other.id, self.cloud.meta_token).changes
        }
        return replace(facts, ads=tuple(ad for ad in facts.ads if ad.id not in others))


@contextmanager
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Start clouds; all are stopped at the end."""
    started = []

    def start(speed: float = 1.0, blueprints: int = 3) -> Site:
        state = tmp_path_factory.mktemp("cloud")
        cloud = LocalCloud(state, port_base=0, speed=speed, media_roots=(state.parent,)).start()
        started.append(cloud)
        return Site(cloud, blueprints)

    try:
        yield start
    finally:
        for cloud in started:
            cloud.stop()


@pytest.fixture(scope="module")
def new_site(tmp_path_factory):
    """Start clouds of the module's own."""
    with sites(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def common_site(tmp_path_factory):
    """The cloud of all who only look at what became of a video."""
    with sites(tmp_path_factory) as start:
        yield start()


def _follows_a_kind(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return item.path.parent == Path(__file__).parent and {"flows", "kind"} <= {*names}


@pytest.fixture(scope="session")
def flows(common_site, clips, request):
    """The clips that are asked for dropped together, each followed to its end; landscape always."""
    asked = [item.callspec.params for item in request.session.items if _follows_a_kind(item)]
    kinds = {"landscape", *(params["kind"] for params in asked)}
    dropped = {kind: common_site.drop(clips[kind]) for kind in sorted(kinds)}
    return {kind: common_site.ended(flow_id) for kind, flow_id in dropped.items()}


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Real clips of several kinds, each a few seconds of the sample."""
    to = tmp_path_factory.mktemp("clips")
    return {
        "landscape": cut(to / "landscape.mp4", 6.0, 9.0),
        "portrait": cut(to / "portrait.mp4", 6.0, 8.0, "crop=ih*9/16:ih", "scale=iw*2:-2"),
        "silent": cut(to / "silent.mp4", 9.0, 8.0, sound=False),
        "single": cut(to / "single.mp4", 1.0, 5.0),
    }


@pytest.fixture(scope="session")
def bad_inputs(tmp_path_factory, clips):
    """What users really drop by mistake, and a word that the reason must hold."""
    to = tmp_path_factory.mktemp("bad")
    text = to / "notes.mp4"
    text.write_text("this is a shopping list, not a video\n" * 50)
    whole = clips["landscape"].read_bytes()
    truncated = to / "truncated.mp4"
    truncated.write_bytes(whole[: len(whole) // 2])
    empty = to / "empty.mp4"
    empty.write_bytes(b"")
    long = to / "long.mp4"
    long.write_bytes(with_declared_duration(whole, 3 * 3600))
    audio = to / "audio.mp4"
    ffmpeg("-i", str(clips["landscape"]), "-vn", "-c:a", "copy", str(audio))
    return {
        "a text file": (text, "video"),
        "a truncated MP4": (truncated, "cut off"),
        "a zero-byte file": (empty, "empty"),
        "a declared duration of 3 hours": (long, "lasts"),
        "sound without a picture": (audio, "picture"),
    }


def with_declared_duration(mp4: bytes, seconds: int) -> bytes:
    """The file with another duration in its movie header (``mvhd`` version 0: scale, duration)."""
    at = mp4.index(b"mvhd") + 4
    assert mp4[at] == 0
    scale = int.from_bytes(mp4[at + 12 : at + 16], "big")
    return mp4[: at + 16] + (scale * seconds).to_bytes(4, "big") + mp4[at + 20 :]
