"""The contestants a network has to beat, and the cards of all."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import finescan
from finescan.models import MODELS, Model, build, complete_arguments, fit_ridge
from finescan.patches import PatchSet
from finescan.training.judging import StopSet, normalised
from finescan.values import ModelCard

#: always run beside a network
CONTESTANTS = ("nearest", "bicubic", "lanczos", "ridge")


def fit_contestants(patches: PatchSet) -> dict[str, Model]:
    """The interpolators and the ridge filter as Models, with the right grey map.

    Each card's ``training["stop_psnr"]`` is its PSNR (dB) on the stop role.
    """
    halo = max(MODELS[name].halo(complete_arguments(name)) for name in CONTESTANTS)
    stop = StopSet(patches, halo, torch.device("cpu"))
    models = {}
    for name in CONTESTANTS:
        network = _ridge(patches) if name == "ridge" else build(name, patches.factor)
        card = make_card(patches, name, complete_arguments(name), {"stop_psnr": stop.psnr(network)})
        models[name] = Model(network, card)
    return models


def make_card(
    patches: PatchSet, architecture: str, arguments: Mapping[str, Any], training: Mapping[str, Any]
) -> ModelCard:
    """The card of a model trained (or fitted, or just set up) on a PatchSet."""
    shares = patches.shares()
    extent = [
        {"name": p.name, "start_nm": list(p.work_grid.edge_nm), "size_nm": list(p.work_grid.extent_nm)}
        for p in patches.pieces
    ]
    facts = {"extent": extent, "shares": shares, "saturated": dict(patches.saturated), "notes": list(patches.notes)}
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


def _ridge(patches: PatchSet) -> torch.nn.Module:
    grey = patches.hr_grey
    samples = (
        (
            normalised(patches, p.lr),
            ((p.hr - grey.mean) / grey.std).astype(np.float32),
            p.role_fine("train").astype(np.float32),
        )
        for p in patches.pieces
    )
    return fit_ridge(samples, patches.factor, **complete_arguments("ridge"))
