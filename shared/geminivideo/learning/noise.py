"""Noise from the operating system's cryptographic generator, by OpenDP.

A module of its own: whoever imports it brings OpenDP along, and only the loop that releases does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Noise = Callable[[Sequence[int], int, float], list[int]]


class NoiseTooSmallError(RuntimeError):
    """The measurement does not keep what the policy promises; nothing may be released with it."""


def laplace(cells: Sequence[int], sensitivity: int, epsilon: float) -> list[int]:
    """The cells with discrete Laplace noise of scale ``sensitivity`` / ``epsilon`` each.

    OpenDP samples exactly, in rational arithmetic, so that no rounding of floating-point numbers
    tells the noise from the cells (Canonne, Kamath, Steinke 2020; Mironov 2012). It has no seed.
    Raises ``NoiseTooSmallError`` when OpenDP's own account of the loss is above ``epsilon``.
    """
    # ``opendp.prelude`` brings its extras along and takes ten times as long to import.
    from opendp.domains import atom_domain, vector_domain
    from opendp.measurements import make_laplace
    from opendp.metrics import l1_distance
    from opendp.mod import enable_features

    enable_features("contrib")
    cell, distance = atom_domain(T="i64"), l1_distance(T="i64")
    measurement = make_laplace(vector_domain(cell), distance, scale=sensitivity / epsilon)
    loss = measurement.map(d_in=sensitivity)
    if not loss <= epsilon * (1 + 1e-9):
        raise NoiseTooSmallError(f"OpenDP says {loss}, the policy says {epsilon}")
    return [int(cell) for cell in measurement(list(cells))]
