"""The same variation by MoviePy 2, in a venv of its own: ``python moviepy_rival.py SPEC.json``.

It crops along the same path, scales, grades by the same tables, draws the same texts at the same
times and encodes by the same preset. MoviePy measures no loudness: the sound is only brought to
full peak, and its texts have Pillow's typeface.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from moviepy import CompositeVideoClip, TextClip, VideoFileClip, afx


def main(spec_path: str) -> None:
    """Render what the spec says."""
    spec = json.loads(Path(spec_path).read_text())
    clip = VideoFileClip(spec["source"]).subclipped(0, spec["duration_s"])
    window, height = spec["window"]
    times, lefts = zip(*spec["path"], strict=True)

    def cropped(frame: Callable[[float], np.ndarray], t: float) -> np.ndarray:
        left = int(np.interp(t, times, lefts))
        return frame(t)[:height, left : left + window]

    tables = np.array(spec["tables"], np.uint8)

    def graded(frame: np.ndarray) -> np.ndarray:
        return np.stack([np.take(tables[n], frame[..., n]) for n in range(3)], axis=-1)

    picture = clip.transform(cropped).resized(tuple(spec["size"])).image_transform(graded)
    texts = [
        TextClip(
            text=one["text"],
            font_size=one["font_px"],
            color="white",
            stroke_color="black",
            stroke_width=3,
            method="caption",
            size=(one["width"], None),
        )
        .with_start(one["start_s"])
        .with_duration(one["end_s"] - one["start_s"])
        .with_position(("center", one["y"]))
        for one in spec["texts"]
    ]
    whole = CompositeVideoClip([picture, *texts]).with_audio(
        clip.audio.with_effects([afx.AudioNormalize()])
    )
    whole.write_videofile(
        spec["to"],
        fps=spec["fps"],
        preset=spec["preset"],
        ffmpeg_params=["-crf", str(spec["crf"]), "-pix_fmt", "yuv420p"],
        audio_codec="aac",
        threads=spec["threads"],
        logger=None,
    )


if __name__ == "__main__":
    main(sys.argv[1])
