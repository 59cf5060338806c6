"""Public weights as a model of ours: the published network, its grey levels, and a card that says where it is from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import finescan
from finescan.errors import ModelError
from finescan.models.foreign import State, load_foreign
from finescan.models.model import Model
from finescan.models.reference import ReferenceNet
from finescan.models.srresnet import PUBLISHED_EPS, SrResNet
from finescan.models.swinir import SpannedSwinIr, SwinIr
from finescan.models.table import architecture, build, complete_arguments
from finescan.models.ttsr import FACTOR, grey_weights
from finescan.values import GreyStatistics, ModelCard

MIDDLE = 127.5  # the published networks read 8-bit grey levels as grey / 127.5 - 1
_BLANK = 1  # references of a network whose bank is still to be filled

Crops = NDArray[np.float32]


@dataclass(frozen=True)
class Imported:
    """How public weights become a network of the MODELS table.

    Parameters
    ----------
    foreign : row of the table of foreign weights.
    architecture : row of the MODELS table.
    arguments : of the published network, for a factor.
    fill : copies the published weights into ours.
    """

    foreign: str
    architecture: str
    arguments: Mapping[str, Any]
    fill: Callable[[nn.Module, nn.Module], None]


def _texture(ours: nn.Module, published: nn.Module) -> None:
    assert isinstance(ours, ReferenceNet)
    ours.net.load_state_dict(published.state_dict())


def _grey_texture(ours: nn.Module, published: nn.Module) -> None:
    assert isinstance(ours, ReferenceNet)
    ours.net.load_state_dict(grey_weights(published.state_dict()))


def _generator(ours: nn.Module, published: nn.Module) -> None:
    assert isinstance(ours.net, nn.Module)
    ours.net.load_state_dict(published.state_dict())


def _swinir(ours: nn.Module, published: nn.Module) -> None:
    assert isinstance(ours, SpannedSwinIr)
    ours.net.load_state_dict(published.state_dict())


_AS_PUBLISHED = {"span": 1.0, "skip": 0, "bound": 0.0}

#: name on the command line -> how
IMPORTS: dict[str, Imported] = {
    "ttsr": Imported("ttsr", "ttsr", _AS_PUBLISHED, _texture),
    "ttsr-grey": Imported("ttsr", "ttsr-grey", _AS_PUBLISHED, _grey_texture),
    "dle-em-generator": Imported(
        "dle-em-generator", "srresnet", {**_AS_PUBLISHED, "norm_eps": PUBLISHED_EPS}, _generator
    ),
    "swinir-light": Imported("swinir-light", "swinir-light", _AS_PUBLISHED, _swinir),
}


def import_foreign(
    name: str,
    state: State,
    *,
    pixel_size_nm: tuple[float, float],
    references: Crops | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Model:
    """A model with public weights.

    Parameters
    ----------
    name : row of :data:`IMPORTS`.
    state : public names -> tensors, see :func:`finescan.models.foreign.load_foreign`.
    pixel_size_nm : of the *result*, per axis; public weights say nothing about it.
    references : (n, side, side) fine grey levels 0 to 255 that TTSR takes texture from. Without them the model only
        serves as the start of a training, which brings its own.
    provenance : goes into the card.

    Raises
    ------
    ModelError : no such name; weights that are not these; references for a network that takes none.
    """
    if name not in IMPORTS:
        raise ModelError(
            f"Weights that can be imported are {', '.join(IMPORTS)}, but {name!r} came. VGG19 weights are given to a "
            "training with --vgg; critics are not kept."
        )
    row = IMPORTS[name]
    published = load_foreign(row.foreign, state)
    factor = published.sr_factor if isinstance(published, (SrResNet, SwinIr)) else FACTOR
    arguments = dict(row.arguments)
    if isinstance(published, SwinIr):
        arguments["channels"] = published.mean.shape[1]
    takes = architecture(row.architecture).references
    if references is not None and not takes:
        raise ModelError(f"{name} takes no texture from references, but {len(references)} came. Leave them out.")
    if takes:
        count, side = (_BLANK, 32 * FACTOR) if references is None else references.shape[:2]
        arguments |= {"references": count, "side": side}
    arguments = complete_arguments(row.architecture, arguments)
    network = build(row.architecture, factor, arguments).eval()
    row.fill(network, published)
    notes = []
    if isinstance(network, ReferenceNet):
        if references is None:
            notes.append("Holds no references yet: it serves as the start of a training (--from), not to enhance.")
        else:
            network.set_references(torch.from_numpy((references - MIDDLE) / MIDDLE))
    return Model(network, _card(row, factor, arguments, pixel_size_nm, notes, provenance or {}))


def _card(
    row: Imported, factor: int, arguments: Mapping[str, Any], size: tuple[float, float], notes: list[str],
    provenance: Mapping[str, Any],
) -> ModelCard:  # fmt: skip
    grey = GreyStatistics(MIDDLE, MIDDLE, 0.0, 255.0)
    return ModelCard(
        architecture=row.architecture,
        arguments=arguments,
        factor=factor,
        halo=architecture(row.architecture).halo(arguments),
        pixel_size_nm=size,
        sr_factor=(float(factor),) * 2,
        lr_grey=grey,
        hr_grey=grey,
        hr_dtype="uint8",
        training={"imported": row.foreign, "notes": notes, "chosen": row.architecture},
        provenance={"finescan": finescan.__version__, "torch": str(torch.__version__), **provenance},
    )
