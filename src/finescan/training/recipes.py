"""The recipes of training on pictures: what is decided where the configuration does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finescan.training.terms import Terms


@dataclass(frozen=True)
class Descent:
    """How weights go down the loss.

    Parameters
    ----------
    learning_rate : highest.
    optimiser, schedule : rows of the OPTIMISERS and SCHEDULES tables.
    betas, weight_decay : of the optimiser.
    clip : largest norm of the gradient.
    extractor_share : learning rate of a texture extractor as a share of that of the rest.
    texture_share : the same of the layers that transferred texture enters by. Each of their outputs sums up thousands
        of features of one sign, so that at a large rate one step moves it further than everything learned so far.
    """

    learning_rate: float = 2e-3
    optimiser: str = "adamw"
    schedule: str = "cosine"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    clip: float = 1.0
    extractor_share: float = 0.1
    texture_share: float = 0.03
    averaging: float = 0.995


@dataclass(frozen=True)
class Recipe:
    """What a recipe decides.

    Parameters
    ----------
    batch, patch : patches per step, and their side in coarse pixels.
    batches : patches per step for some factors instead.
    fine_patch : their side in fine pixels instead, where it is not 0.
    crop : border of a patch that only gives context, coarse pixels.
    members : most networks to train one after the other.
    loss : content loss, row of the LOSSES table.
    descent : see :class:`Descent`.
    terms : see :class:`finescan.training.terms.Terms`.
    arguments : of the network, where they differ from its row in the MODELS table.
    steps, epochs : length of a training without a time budget; an epoch sees as many pixels as there are.
    looks : at the stop role, per member.
    freeze_extractor : whether a texture extractor keeps the weights it starts with.
    """

    batch: int = 4
    batches: Mapping[int, int] = field(default_factory=dict)
    patch: int = 32
    fine_patch: int = 0
    crop: int = 2
    members: int = 3
    loss: str = "l1"
    descent: Descent = Descent()
    terms: Terms = field(default_factory=Terms)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    epochs: float = 0.0
    looks: int = 12
    freeze_extractor: bool = False


_USUAL = Recipe()  # of our own networks: the same on processors and on graphics cards

# Yang et al. 2020 for the weights of the terms; Reclik et al. 2025 (doi:10.1016/j.matdes.2025.113955) for the sizes,
# the cyclic rate and the two halves of 40 epochs; batch and length follow from their 20 000 triplets and Fig. 4.
_TTSR = Recipe(
    batch=8,
    crop=0,
    members=1,
    descent=Descent(1e-4, "adam", "cyclic", weight_decay=0.0, clip=float("inf"), texture_share=1.0),
    terms=Terms("wgan-gp", adversarial=1e-3, perceptual=1e-2, texture=1e-2),
    steps=200_000,
    looks=20,
)
# van Melick & Plümper, DLE-EM: 256 fine pixels, batch 80, 100 epochs, no schedule
_SRRESNET = Recipe(
    batch=80,
    fine_patch=256,
    crop=0,
    members=1,
    descent=Descent(1e-4, "adam", "constant", (0.5, 0.999), 0.0, float("inf")),
    terms=Terms("patch", adversarial=1e-3, content_share=0.0),
    arguments={"skip": 0, "bound": 0.0},
    epochs=100.0,
    looks=20,
)

# Möller et al. 2023, section 5: 256 fine pixels, L1, AdamW at 1e-3 in steps, 150 000 iterations; where the rate is
# halved and the averaging are in their configuration, which has Adam at 2e-4 instead: here the paper counts
_SWINIR = Recipe(
    batch=16,
    batches={2: 4},
    fine_patch=256,
    crop=0,
    members=1,
    descent=Descent(1e-3, "adamw", "halving", weight_decay=0.01, clip=float("inf"), averaging=0.999),
    arguments={"skip": 0, "bound": 0.0},
    steps=150_000,
    looks=20,
)
# a step of the published size takes about four seconds of a processor: a smaller one there
_SWINIR_QUICK = Recipe(
    patch=24, crop=0, members=1, descent=Descent(1e-3), arguments={"layers": 2, "blocks": 2}, looks=3
)

_TTSR_QUICK = Recipe(
    members=1,
    descent=Descent(1e-3),
    arguments={"features": 16, "blocks": 4, "references": 16, "side": 128},
    looks=4,
    freeze_extractor=True,
)
_TTSR_LARGE = Recipe(batch=16, members=1, descent=Descent(4e-4), looks=12)

#: recipe -> architecture ("" = all others) -> values
RECIPES: dict[str, dict[str, Recipe]] = {
    "published": {"": _USUAL, "ttsr": _TTSR, "ttsr-grey": _TTSR, "srresnet": _SRRESNET, "swinir-light": _SWINIR},
    # processors: what counts is the number of steps
    "quick": {
        "": _USUAL,
        "ttsr": _TTSR_QUICK,
        "ttsr-grey": _TTSR_QUICK,
        "srresnet": Recipe(members=1, patch=24, descent=Descent(1e-3), arguments={"features": 32, "blocks": 8}),
        "swinir-light": _SWINIR_QUICK,
    },
    # graphics cards
    "large": {
        "": _USUAL,
        "ttsr": _TTSR_LARGE,
        "ttsr-grey": _TTSR_LARGE,
        "srresnet": Recipe(batch=16, patch=48, members=1, descent=Descent(5e-4)),
        "swinir-light": Recipe(batch=16, patch=64, crop=0, members=1, descent=Descent(5e-4)),
    },
}
