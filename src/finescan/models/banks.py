"""A trained texture transformer with other references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from finescan.errors import ModelError
from finescan.models.model import Model
from finescan.models.reference import ReferenceNet
from finescan.models.table import architecture, build


def with_references(model: Model, crops: NDArray[np.float32]) -> Model:
    """The model with another bank: all that Reclik et al. 2025 (section 3.2.2) change for another material at first.

    Parameters
    ----------
    model : with a network that takes references.
    crops : (n, side, side) fine grey levels, as the model's fine scan has them.

    Raises
    ------
    ModelError : a network that takes no references.
    """
    card = model.card
    if not architecture(card.architecture).references:
        raise ModelError(f"{card.architecture} takes no texture from references. Leave them out.")
    arguments = {**card.arguments, "references": len(crops), "side": crops.shape[1]}
    bank = torch.from_numpy(((crops - card.hr_grey.mean) / card.hr_grey.std).astype(np.float32))
    members = []
    for member in model.members:
        network = build(card.architecture, card.factor, arguments).eval()
        assert isinstance(network, ReferenceNet)
        own = {k: v for k, v in member.state_dict().items() if k not in ("bank", "keys")}
        network.load_state_dict(own, strict=False)
        network.set_references(bank)
        members.append(network)
    return Model(members, replace(card, arguments=arguments))
