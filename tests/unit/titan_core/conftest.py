"""Videos as the Council is given them, built from plain facts."""

import pytest
from geminivideo.events import ObjectRef
from geminivideo.records import (
    Box,
    Brief,
    Features,
    Prediction,
    Scene,
    TextSeen,
    Transcript,
    Video,
    Word,
)
from geminivideo.titan_core.material import Material


def spoken(text: str, start: float = 0.2, each: float = 0.35) -> tuple[Word, ...]:
    return tuple(
        Word(text=word, start_s=start + i * each, end_s=start + (i + 0.9) * each, confidence=0.9)
        for i, word in enumerate(text.split())
    )


def material(
    lengths=(3.0, 2.5, 4.0, 3.5),
    scores=(0.4, 0.8, 0.6, 0.3),
    words=(),
    texts=(),
    brief=None,
    title="Summer Trail",
    flow_id="cf-test",
) -> Material:
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    order = sorted(range(len(lengths)), key=lambda i: (-scores[i], i))
    box = Box(x=0.1, y=0.1, w=0.5, h=0.1)
    scenes = tuple(
        Scene(
            id=f"{flow_id}-{i:03d}",
            flow_id=flow_id,
            index=i,
            start_s=starts[i],
            end_s=starts[i] + lengths[i],
            features=Features(
                motion=scores[i],
                texts=tuple(
                    TextSeen(text=t, confidence=0.9, box=box, at_s=starts[i]) for t in texts
                )
                if i == 0
                else (),
            ),
            prediction=Prediction(
                score=scores[i],
                ctr=None,
                interval=None,
                model_version="heuristic-1",
                sample_size=0,
                degraded=("heuristic-rank",),
            ),
            rank=order.index(i),
        )
        for i in range(len(lengths))
    )
    video = Video(
        id=flow_id,
        account_id="demo",
        campaign_id=None,
        video=ObjectRef(bucket="b", name="v.mp4", generation=1),
        container="mov",
        video_codec="h264",
        audio_codec="aac",
        width=1280,
        height=720,
        fps=25.0,
        duration_s=sum(lengths),
        rotation_deg=0,
        size_bytes=1000,
        title=title,
        created_at=0.0,
    )
    transcript = Transcript(id=flow_id, words=tuple(words), language="en", source="test")
    return Material(
        flow_id=flow_id,
        brief=brief or Brief(),
        video=video,
        scenes=scenes,
        transcript=transcript,
    )


@pytest.fixture
def make_material():
    return material


@pytest.fixture
def make_words():
    return spoken
