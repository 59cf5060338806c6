"""The MODELS table: every interpolator and network, for pictures and for volumes, one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from finescan.errors import ModelError
from finescan.models.layers import KERNELS, Interpolate
from finescan.models.networks import build_residual, build_stack
from finescan.models.reference import WINDOW, ReferenceNet
from finescan.models.ridge import RidgeFilter
from finescan.models.srresnet import FACTORS, SpannedSrResNet
from finescan.models.swinir import SpannedSwinIr
from finescan.models.ttsr import FACTOR as TTSR_FACTOR
from finescan.models.volumes import STACK, DeepNet, Srcnn3d, Unchanged, VolumeNet, deepnet_halo, volume_halo
from finescan.models.windows import JOININGS, WIDE

LARGEST = {"channels": 512, "depth": 64, "layers": 16, "blocks": 64, "radius": 16, "bound": 100.0}
LARGEST |= {"width": 256, "levels": 6, "position": 1}
LARGEST |= {"features": 512, "references": 4096, "side": 2048, "span": 1e3, "skip": 1, "selector": 1, "norm_eps": 1.0}
SMALLEST = {"position": 0, "levels": 0, "skip": 0, "selector": 0}  # of whole numbers; 1 for all others
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
    axes : "YX" for pictures, "ZYX" for volumes; the networks of volumes read the grid of the result (factor 1).
    halo_z : as ``halo``, along z.
    multiple : ``multiple(arguments)`` -> (z, y, x): blocks start at, and are as long as, whole multiples of it.
    stack : slices per stack of networks that take and give stacks, else 0.
    factors : the factors there are; none = any.
    window : coarse pixels per side of the pictures that the network looks at one at a time (it has no exact halo, and
        :mod:`finescan.models.windows` puts its answers together), else 0.
    references : whether it takes texture from a bank of references.
    """

    build: Callable[..., nn.Module]
    halo: Callable[[Mapping[str, Any]], int]
    arguments: Mapping[str, Any]
    trainable: bool
    sentence: str
    axes: str = "YX"
    halo_z: Callable[[Mapping[str, Any]], int] = lambda _: 0
    multiple: Callable[[Mapping[str, Any]], tuple[int, int, int]] = lambda _: (1, 1, 1)
    stack: int = 0
    factors: tuple[int, ...] = ()
    window: int = 0
    references: bool = False


def _fixed(kernel: str, sentence: str) -> Architecture:
    return Architecture(lambda factor: Interpolate(factor, kernel), lambda _: KERNELS[kernel][1], {}, False, sentence)


_REFERENCED = {"features": 64, "blocks": 16, "references": 256, "side": 300, "span": 4.0, "selector": 0}


def _ttsr(channels: int, sentence: str, **arguments: float) -> Architecture:
    return Architecture(
        lambda factor, **given: ReferenceNet(channels=channels, **given),
        lambda _: JOININGS["smooth"].reach,
        {**_REFERENCED, **arguments},
        True,
        sentence,
        factors=(TTSR_FACTOR,),
        window=WINDOW,
        references=True,
    )


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
    "srresnet": Architecture(
        SpannedSrResNet,
        lambda a: 2 * int(a["blocks"]) + 8,
        {"features": 64, "blocks": 16, "norm_eps": 1e-5, "span": 4.0, "skip": 1, "bound": 0.5},
        True,
        "Residual network with batch normalisation, the generator of DLE-EM; ×2, ×4 and ×8, alone or against a critic.",
        factors=FACTORS,
    ),
    "ttsr": _ttsr(
        3, "Texture transformer as published: ×4, texture from the most similar of many references.", skip=0, bound=0.0
    ),
    "ttsr-grey": _ttsr(
        1, "Texture transformer without the detour over colour, added to bicubic interpolation; ×4.", skip=1, bound=0.5
    ),
    "swinir-light": Architecture(
        SpannedSwinIr,
        lambda _: WIDE.reach,
        {"channels": 1, "layers": 4, "blocks": 6, "span": 4.0, "skip": 1, "bound": 0.5},
        True,
        "Transformer on windows of 8 x 8 pixels, 0.9 million weights, ×2 and ×4; for graphics cards.",
        factors=(2, 4),
        window=WIDE.size,
    ),
    "interpolated": Architecture(
        lambda factor: Unchanged(),
        lambda _: 0,
        {},
        False,
        "The coarse volume on the fine grid, with the grey levels of the fine one; what every network starts from.",
        axes="ZYX",
    ),
    "srcnn3d": Architecture(
        lambda factor: Srcnn3d(),
        lambda _: 6,
        {},
        True,
        "Three layers of 9³, 1³ and 5³ taps; the classic that papers compare with.",
        axes="ZYX",
        halo_z=lambda _: 6,
    ),
    "deepnet": Architecture(
        lambda factor, **arguments: DeepNet(**arguments),
        lambda a: deepnet_halo(int(a["levels"])),
        {"width": 32, "levels": 4, "position": 0},
        True,
        "U-Net on stacks of five slices, as published for X-ray microscopes; wide in the plane, flat along z.",
        axes="ZYX",
        halo_z=lambda _: STACK - 1,
        multiple=lambda a: (1, *(2 ** int(a["levels"]),) * 2),
        stack=STACK,
    ),
    "volume": Architecture(
        lambda factor, **arguments: VolumeNet(**arguments),
        lambda a: volume_halo(int(a["levels"]), int(a["blocks"])),
        {"width": 32, "levels": 2, "blocks": 2, "position": 0},
        True,
        "Three-dimensional network on cells of eight voxels: as much context along z as in the plane.",
        axes="ZYX",
        halo_z=lambda a: volume_halo(int(a["levels"]), int(a["blocks"])),
        multiple=lambda a: (2 ** (int(a["levels"]) + 1),) * 3,
    ),
}


def architecture(name: str) -> Architecture:
    """The row of a name; ModelError names the ones there are."""
    if name not in MODELS:
        raise ModelError(f"An architecture is one of {', '.join(MODELS)}, but {name!r} came.")
    return MODELS[name]


def memory_format(name: str) -> torch.memory_format:
    """The layout in which an architecture's tensors are fastest: channels last, in two or three dimensions."""
    row = architecture(name)
    return torch.channels_last_3d if row.axes == "ZYX" and not row.stack else torch.channels_last


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
        least = SMALLEST.get(key, 1)
        if not fits or (whole and (value != int(value) or value < least)):
            kind = f"a whole number from {least}" if whole else "a number from 0"
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
    row = architecture(name)
    if row.factors and factor not in row.factors:
        raise ModelError(
            f"The architecture {name} enhances by {' or '.join(str(f) for f in row.factors)}, but the ratio asks for "
            f"{factor}. Use another network, such as fast or strong, or scans of another ratio."
        )
    if row.axes == "ZYX" and factor != 1:
        raise ModelError(
            f"The architecture {name} reads volumes on the grid of the result, so its factor is 1, but {factor} came."
        )
    return row.build(factor, **complete_arguments(name, arguments))
