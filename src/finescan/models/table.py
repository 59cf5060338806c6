"""The MODELS table: every interpolator and network, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from finescan.errors import ModelError
from finescan.models.layers import KERNELS, Interpolate
from finescan.models.networks import build_residual, build_stack
from finescan.models.ridge import RidgeFilter

LARGEST = {"channels": 512, "depth": 64, "blocks": 64, "radius": 16, "bound": 100.0}
LARGEST_FACTOR = 32


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Parameters
    ----------
    build : ``build(factor, **arguments)`` -> the network, with fresh weights.
    halo : ``halo(arguments)`` -> radius of the receptive field in coarse pixels, interpolating skip included.
    arguments : default arguments, plain JSON numbers.
    trainable : whether gradient descent trains it (the interpolators are fixed, the ridge filter is solved for).
    sentence : what it is and when to use it.
    """

    build: Callable[..., nn.Module]
    halo: Callable[[Mapping[str, Any]], int]
    arguments: Mapping[str, Any]
    trainable: bool
    sentence: str


def _fixed(kernel: str, sentence: str) -> Architecture:
    return Architecture(lambda factor: Interpolate(factor, kernel), lambda _: KERNELS[kernel][1], {}, False, sentence)


MODELS: dict[str, Architecture] = {
    "nearest": _fixed("nearest", "Repeats every coarse pixel; shows what was recorded."),
    "bicubic": _fixed("bicubic", "Cubic convolution; the interpolation everything is compared with."),
    "lanczos": _fixed("lanczos", "Three-lobed windowed sinc; sharper than bicubic, rings more."),
    "ridge": Architecture(
        RidgeFilter,
        lambda a: max(2, int(a["radius"])),
        {"radius": 3},
        False,
        "The best linear filter, fitted in a second; instant preview and honest baseline.",
    ),
    "fast": Architecture(
        build_stack,
        lambda a: int(a["depth"]) + 2,
        {"channels": 32, "depth": 6, "bound": 0.5},
        True,
        "Plain stack of 3 x 3 convolutions, about 60 000 weights; trains in half a minute on two cores.",
    ),
    "strong": Architecture(
        build_residual,
        lambda a: 2 * int(a["blocks"]) + 2,
        {"channels": 64, "blocks": 8, "bound": 0.5},
        True,
        "Residual network of about 0.6 million weights; for graphics cards and larger pairs.",
    ),
}


def architecture(name: str) -> Architecture:
    """The row of a name; ModelError names the ones there are."""
    if name not in MODELS:
        raise ModelError(f"An architecture is one of {', '.join(MODELS)}, but {name!r} came.")
    return MODELS[name]


def complete_arguments(name: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Default arguments with the given ones on top; unknown names and absurd values are a ModelError."""
    row, given = architecture(name), dict(arguments or {})
    unknown = sorted(set(given) - set(row.arguments))
    if unknown:
        known = ", ".join(row.arguments) or "no arguments"
        raise ModelError(f"The architecture {name} takes {known}, but {', '.join(unknown)} came.")
    for key, value in given.items():
        whole = not isinstance(row.arguments[key], float)
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LARGEST[key]
        if not fits or (whole and (value != int(value) or value < 1)):
            kind = "a whole number from 1" if whole else "a number from 0"
            raise ModelError(f"{name}: {key} must be {kind} to {LARGEST[key]:g}, but {value!r} came.")
    return {**row.arguments, **given}


def build(name: str, factor: int, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """A network of the table with fresh weights.

    Parameters
    ----------
    name : row of :data:`MODELS`.
    factor : whole output pixels per coarse pixel, 1 to 32.
    arguments : what differs from the row's default arguments.
    """
    if isinstance(factor, bool) or not isinstance(factor, int) or not 1 <= factor <= LARGEST_FACTOR:
        raise ModelError(f"A model's factor is a whole number from 1 to {LARGEST_FACTOR}, but {factor!r} came.")
    return architecture(name).build(factor, **complete_arguments(name, arguments))
