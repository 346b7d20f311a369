"""A Darknet detector (``.cfg`` and ``.weights``) as an ONNX model in the layout of ``detector``.

Darknet's format: a text of sections, one layer each, and after a header the 32-bit floats of every
convolution in order: biases, with batch normalisation its scales, means and variances, then the
kernel ``[filters, channels, size, size]``. Normalisation is folded into the kernel. The last step
of a ``yolo`` layer (Redmon and Farhadi 2018, arXiv:1804.02767, section 2.1; ``scale_x_y`` from
Bochkovskiy et al. 2020, arXiv:2004.10934, "eliminate grid sensitivity") is part of the graph, so
that boxes leave it in input pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Section = tuple[str, dict[str, str]]

SUFFIX = ".weights"

_OPSET = 17
_IR_VERSION = 8  # of opset 17; onnxruntime refuses files newer than itself
_VARIANCE_FLOOR = 1e-5
_SHORT_HEADER, _LONG_HEADER = 16, 20  # bytes; `seen` has eight of them since version 0.2
_LEAK = 0.1


class DarknetError(ValueError):
    """The files are no network that can be read here; the message says what differs."""


def to_onnx(weights: Path) -> bytes:
    """The network as an ONNX file: input ``[1, 3, h, w]`` 0-1, output ``[1, 4 + classes, N]``.

    Its cfg lies beside the weights under the same name, its class names in the folder's one file
    ``*.names``; they become metadata, as a YOLO exporter writes them. Raises ``DarknetError``.
    """
    import numpy as np

    cfg, names = _beside(weights)
    sections = parse(cfg.read_text(encoding="utf-8"))
    graph = _Graph(_Numbers(np.frombuffer(weights.read_bytes(), np.uint8)), sections[0])
    for kind, options in sections[1:]:
        graph.add(kind, options)
    return graph.model(_lines(names))


def _lines(names: Path) -> dict[int, str]:
    lines = names.read_text(encoding="utf-8").splitlines()
    return {index: line.strip() for index, line in enumerate(lines) if line.strip()}


def _beside(weights: Path) -> tuple[Path, Path]:
    cfg, names = weights.with_suffix(".cfg"), sorted(weights.parent.glob("*.names"))
    missing = [one for one, found in ((cfg.name, cfg.is_file()), ("*.names", names)) if not found]
    if missing or len(names) > 1:
        raise DarknetError(
            f"beside the weights there must be {cfg.name} and one file *.names; "
            f"missing: {', '.join(missing) or 'none'}, names: {len(names)}"
        )
    return cfg, names[0]


def parse(text: str) -> list[Section]:
    """The sections of a cfg in order: kind and options. Raises ``DarknetError``."""
    sections: list[Section] = []
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            sections.append((line.strip("[]"), {}))
        elif line and not sections:
            raise DarknetError(f"the cfg begins with {line!r}, not with a section")
        elif line:
            key, _, value = line.partition("=")
            sections[-1][1][key.strip()] = value.strip()
    if not sections or sections[0][0] not in ("net", "network"):
        raise DarknetError("the cfg does not begin with [net]")
    return sections


class _Numbers:
    """The floats of a weights file, taken in order."""

    def __init__(self, raw: np.ndarray) -> None:
        import numpy as np

        if len(raw) < _LONG_HEADER:
            raise DarknetError("the weights are shorter than their header")
        major, minor = (int(one) for one in raw[:8].view(np.int32))
        header = _LONG_HEADER if 10 * major + minor >= 2 else _SHORT_HEADER
        if (len(raw) - header) % 4:
            raise DarknetError("the weights end in the middle of a number")
        self._floats = raw[header:].view(np.float32)
        self._next = 0

    def take(self, *shape: int) -> np.ndarray:
        """The next numbers in a shape; raises ``DarknetError`` when there are too few."""
        import numpy as np

        first, self._next = self._next, self._next + int(np.prod(shape))
        if self._next > len(self._floats):
            raise DarknetError(f"the weights end after {len(self._floats)} numbers; more are asked")
        return self._floats[first : self._next].reshape(shape)

    @property
    def left(self) -> int:
        """How many numbers no layer has taken."""
        return len(self._floats) - self._next


@dataclass(frozen=True)
class _Layer:
    """What a layer gives: the name of its tensor, its channels, and its stride in input pixels."""

    tensor: str
    channels: int
    stride: float


class _Graph:
    """An ONNX graph in the making, layer by layer."""

    def __init__(self, numbers: _Numbers, net: Section) -> None:
        self._numbers = numbers
        self._width, self._height = int(net[1]["width"]), int(net[1]["height"])
        self._layers: list[_Layer] = []
        self._heads: list[str] = []
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[str, Callable[[dict[str, str]], _Layer]] = {
            "convolutional": self._convolution,
            "maxpool": self._pool,
            "route": self._route,
            "upsample": self._upsample,
            "yolo": self._yolo,
        }

    def add(self, kind: str, options: dict[str, str]) -> None:
        """One more layer; raises ``DarknetError`` for a kind that is not known."""
        if kind not in self._known:
            raise DarknetError(f"layers of kind [{kind}] are not read here")
        self._layers.append(self._known[kind](options))

    def model(self, names: dict[int, str]) -> bytes:
        """The finished file; raises ``DarknetError`` when numbers are left or no head was seen."""
        from onnx import TensorProto, helper

        if self._numbers.left or not self._heads:
            raise DarknetError(
                f"{self._numbers.left} numbers of the weights belong to no layer; "
                f"{len(self._heads)} yolo layers were read: weights and cfg do not belong together"
            )
        self._nodes.append(helper.make_node("Concat", self._heads, ["boxes"], axis=2))
        side = [1, 3, self._height, self._width]
        graph = helper.make_graph(
            self._nodes,
            "darknet",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, side)],
            [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4 + len(names), None])],
            self._constants,
        )
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
        helper.set_model_props(model, {"names": str(names)})
        return model.SerializeToString()

    def _node(self, op: str, inputs: Sequence[str], count: int = 1, **attributes: Any) -> list[str]:
        from onnx import helper

        outputs = [f"{op}_{len(self._nodes)}_{i}" for i in range(count)]
        self._nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        return outputs

    def _one(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self._node(op, inputs, **attributes)[0]

    def _constant(self, values: Any, kind: str = "float32") -> str:
        import numpy as np
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(values, dtype=kind)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    @property
    def _last(self) -> _Layer:
        return self._layers[-1] if self._layers else _Layer("images", 3, 1)

    def _convolution(self, options: dict[str, str]) -> _Layer:
        filters, size = int(options["filters"]), int(options["size"])
        stride, before = int(options["stride"]), self._last
        kernel, bias = self._kernel(
            (filters, before.channels, size, size), options.get("batch_normalize") == "1"
        )
        pad = size // 2 if options.get("pad") == "1" else 0
        inputs = (before.tensor, self._constant(kernel), self._constant(bias))
        found = self._one("Conv", *inputs, strides=[stride] * 2, pads=[pad] * 4)
        activation = options.get("activation", "logistic")
        if activation == "leaky":
            found = self._one("LeakyRelu", found, alpha=_LEAK)
        elif activation != "linear":
            raise DarknetError(f"the activation {activation!r} is not read here")
        return _Layer(found, filters, before.stride * stride)

    def _kernel(self, shape: tuple[int, ...], normalised: bool) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        take = self._numbers.take
        bias = take(shape[0])
        if not normalised:
            return take(*shape), bias
        scale, mean, variance = (take(shape[0]) for _ in range(3))
        factor = scale / np.sqrt(variance + _VARIANCE_FLOOR)
        return take(*shape) * factor[:, None, None, None], bias - mean * factor

    def _pool(self, options: dict[str, str]) -> _Layer:
        size, stride = int(options["size"]), int(options["stride"])
        first = (size - 1) // 2
        pads = [first, first, size - 1 - first, size - 1 - first]
        found = self._one(
            "MaxPool", self._last.tensor, kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads
        )
        return _Layer(found, self._last.channels, self._last.stride * stride)

    def _route(self, options: dict[str, str]) -> _Layer:
        places = [int(one) for one in options["layers"].split(",")]
        parts = [self._layers[place] for place in places]
        groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
        taken = [self._group(one, groups, group) for one in parts]
        found = taken[0] if len(taken) == 1 else self._one("Concat", *taken, axis=1)
        return _Layer(found, sum(one.channels // groups for one in parts), parts[0].stride)

    def _group(self, layer: _Layer, groups: int, group: int) -> str:
        if groups == 1:
            return layer.tensor
        wide = layer.channels // groups
        bounds = ([group * wide], [(group + 1) * wide], [1])
        return self._one("Slice", layer.tensor, *(self._constant(one, "int64") for one in bounds))

    def _upsample(self, options: dict[str, str]) -> _Layer:
        times = int(options["stride"])
        scales = self._constant([1, 1, times, times])
        found = self._one(
            "Resize",
            self._last.tensor,
            "",
            scales,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
        return _Layer(found, self._last.channels, self._last.stride / times)

    def _yolo(self, options: dict[str, str]) -> _Layer:
        before, classes = self._last, int(options["classes"])
        mask = [int(one) for one in options["mask"].split(",")]
        pairs = [float(one) for one in options["anchors"].split(",")]
        anchors = [[[pairs[2 * i]], [pairs[2 * i + 1]]] for i in mask]
        if before.channels != len(mask) * (5 + classes):
            raise DarknetError(
                f"{before.channels} channels are no {len(mask)} boxes of {classes} classes"
            )
        shape = self._constant([len(mask), 5 + classes, -1], "int64")
        places, sizes, surety, kinds = self._node(
            "Split",
            (
                self._one("Reshape", before.tensor, shape),
                self._constant([2, 2, 1, classes], "int64"),
            ),
            4,
            axis=1,
        )
        centre = self._centres(places, before.stride, float(options.get("scale_x_y", 1)))
        size = self._one("Mul", self._one("Exp", sizes), self._constant(anchors))
        score = self._one("Mul", self._one("Sigmoid", surety), self._one("Sigmoid", kinds))
        rows = self._one("Concat", centre, size, score, axis=1)
        turned = self._one("Transpose", rows, perm=[1, 0, 2])
        flat = self._constant([1, 4 + classes, -1], "int64")
        self._heads.append(self._one("Reshape", turned, flat))
        return before

    def _centres(self, places: str, stride: float, scale: float) -> str:
        """Centres in input pixels: the cell's corner, and how far into it (or over its edge)."""
        import numpy as np

        wide, high = int(self._width / stride), int(self._height / stride)
        corners = np.stack(np.meshgrid(np.arange(wide), np.arange(high))).reshape(1, 2, -1)
        inside = self._one("Mul", self._one("Sigmoid", places), self._constant(scale * stride))
        return self._one("Add", inside, self._constant((corners - (scale - 1) / 2) * stride))
