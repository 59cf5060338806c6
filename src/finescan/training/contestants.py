"""The contestants a network has to beat, and the cards of all."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import finescan
from finescan.errors import InputError
from finescan.models import MODELS, Model, build, complete_arguments, fit_ridge
from finescan.patches import ROLES, PatchSet, Piece
from finescan.training.judging import StopSet, normalised
from finescan.values import ModelCard, look_of_parts, looks_of_places

Box = tuple[slice, slice]

#: always run beside a network
CONTESTANTS = ("nearest", "bicubic", "lanczos", "ridge")
RIDGE_PIXELS = 1_000_000  # coarse pixels that the ridge filter is fitted on, of sets of many pieces


def fit_contestants(patches: PatchSet) -> dict[str, Model]:
    """The interpolators and the ridge filter as Models, with the right grey map.

    Each card's ``training["stop_psnr"]`` is its PSNR (dB) on the stop role.
    """
    halo = max(MODELS[name].halo(complete_arguments(name)) for name in CONTESTANTS)
    stop = StopSet(patches, halo, torch.device("cpu"))
    models: dict[str, Model] = {}
    common = make_card(patches, CONTESTANTS[0], complete_arguments(CONTESTANTS[0]), {})
    for name in CONTESTANTS:
        network = _ridge(patches) if name == "ridge" else build(name, patches.factor)
        arguments = complete_arguments(name)
        card = replace(
            common,
            architecture=name,
            arguments=arguments,
            halo=MODELS[name].halo(arguments),
            training={**common.training, "stop_psnr": stop.psnr(network)},
        )
        models[name] = Model(network, card)
    return models


def make_card(
    patches: PatchSet, architecture: str, arguments: Mapping[str, Any], training: Mapping[str, Any]
) -> ModelCard:
    """The card of a model trained (or fitted, or just set up) on a PatchSet."""
    shares = patches.shares()
    extent = [
        {"name": name, "start_nm": list(grid.edge_nm), "size_nm": list(grid.extent_nm)}
        for name, grid in dict.fromkeys((p.name, p.work_grid) for p in patches.pieces)
    ]
    facts = {"extent": extent, "shares": shares, "saturated": dict(patches.saturated), "notes": list(patches.notes)}
    with suppress(InputError):  # no place large enough for statistics: the model is good without them
        facts["look"] = look_of_parts(learned_from(patches)).to_dict()
        facts["look_places"] = [look.to_dict() for look in looks_of_places(learned_from(patches))]
    return ModelCard(
        architecture=architecture,
        arguments=dict(arguments),
        factor=patches.factor,
        halo=MODELS[architecture].halo(arguments),
        pixel_size_nm=patches.out_grid.pixel_size_nm,
        sr_factor=patches.sr_factor,
        lr_grey=patches.lr_grey,
        hr_grey=patches.hr_grey,
        gain=patches.gain,
        offset=patches.offset,
        lr_range=patches.lr_range,
        hr_dtype=patches.hr_dtype,
        training={**facts, **training},
        provenance={
            "finescan": finescan.__version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
            "data": patches.fingerprint(),
        },
    )


def learned_from(patches: PatchSet) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Coarse scans and where they are learned from: what later maps are compared with."""
    # all of the training role, also what is too bright, too dark or too noisy to learn from: it is part of the sample
    return list(patches.read) or [(p.lr, p.role == ROLES["train"]) for p in patches.pieces]


def _ridge(patches: PatchSet) -> torch.nn.Module:
    grey = patches.hr_grey
    samples = (
        (
            normalised(patches, p.lr[box]),
            ((p.hr[fine] - grey.mean) / grey.std).astype(np.float32),
            p.role_fine("train")[fine].astype(np.float32),
        )
        for p, box, fine in _ridge_windows(patches)
    )
    return fit_ridge(samples, patches.factor, **complete_arguments("ridge"))


def _ridge_windows(patches: PatchSet) -> Iterator[tuple[Piece, Box, Box]]:
    """What of every piece the ridge filter is fitted on, in coarse and in fine pixels.

    All of it; of sets with chances, a window somewhere in the training part as large as its chance says: the same
    mixture of pieces that networks see, and no more than a linear filter needs.
    """
    for k, p in enumerate(patches.pieces):
        sides = list(p.lr.shape)
        first = [0, 0]
        if patches.chances:
            some = np.argwhere(p.role == ROLES["train"])
            if not len(some):
                continue
            side = math.ceil(math.sqrt(RIDGE_PIXELS * patches.chances[k] / sum(patches.chances)))
            middle = some[np.random.default_rng(k).integers(len(some))].tolist()
            sides = [min(side, n) for n in sides]
            first = [min(max(0, m - s // 2), n - s) for m, s, n in zip(middle, sides, p.lr.shape, strict=True)]
        rows, columns = (slice(a, a + s) for a, s in zip(first, sides, strict=True))
        fine = (slice(p.factor * s.start, p.factor * s.stop) for s in (rows, columns))
        yield p, (rows, columns), tuple(fine)  # type: ignore[misc]
