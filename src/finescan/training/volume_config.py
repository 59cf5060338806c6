"""VolumeTrainConfig: how to train on volumes, and the two recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from finescan.models import MODELS
from finescan.patches.volume_sampling import VOLUME_SYMMETRIES
from finescan.training.config import TrainingOptions, _one_of, _Seconds
from finescan.training.job import device_of
from finescan.training.losses import LOSSES

_TRAINABLE = [name for name, row in MODELS.items() if row.trainable and row.axes == "ZYX"]


@dataclass(frozen=True)
class VolumeRecipe:
    """What a recipe decides where the configuration does not.

    Parameters
    ----------
    batch : patches per step.
    slices, side : of a patch, voxels; networks that take stacks have their own number of slices.
    crop : border of a patch that only gives context, voxels.
    learning_rate, weight_decay : of AdamW.
    annealed : short rise and half a cosine, else constant.
    loss : row of the LOSSES table.
    steps : where neither time nor steps are given.
    looks : at the stop boxes, per member.
    """

    batch: int
    slices: int
    side: int
    crop: int
    learning_rate: float
    weight_decay: float
    annealed: bool
    loss: str
    steps: int
    looks: int


#: recipe -> architecture ("" = all others) -> values
RECIPES: dict[str, dict[str, VolumeRecipe]] = {
    # Bukka et al. 2025 (doi:10.1515/mim-2024-0017), 2.4: Adam 2e-4, 4 patches of 512 x 512 x 5, 10 000 steps
    "published": {
        "": VolumeRecipe(4, 64, 128, 4, 2e-4, 0.0, False, "l1", 10_000, 20),
        "deepnet": VolumeRecipe(4, 5, 512, 0, 2e-4, 0.0, False, "l1", 10_000, 20),
        "srcnn3d": VolumeRecipe(4, 64, 64, 6, 2e-4, 0.0, False, "l2", 10_000, 20),
    },
    # processors: what counts is the number of steps
    "quick": {
        "": VolumeRecipe(2, 48, 48, 4, 2e-3, 1e-4, True, "l1", 300, 5),
        "deepnet": VolumeRecipe(4, 5, 96, 4, 2e-3, 1e-4, True, "l1", 300, 5),
        "srcnn3d": VolumeRecipe(2, 32, 32, 4, 2e-3, 0.0, True, "l2", 300, 5),
    },
    # graphics cards: patches large enough to fill them
    "large": {
        "": VolumeRecipe(8, 96, 96, 8, 1e-3, 1e-4, True, "l1", 5_000, 20),
        "deepnet": VolumeRecipe(8, 5, 256, 8, 1e-3, 1e-4, True, "l1", 5_000, 20),
        "srcnn3d": VolumeRecipe(8, 48, 48, 6, 1e-3, 0.0, True, "l2", 5_000, 20),
    },
}

#: what a network is built with on "quick", where the configuration does not say
QUICK_ARGUMENTS: dict[str, dict[str, int]] = {"deepnet": {"width": 16, "levels": 3}, "volume": {"width": 16}}


class VolumeTrainConfig(TrainingOptions):
    """How to train on volumes; unknown names are refused.

    Parameters
    ----------
    architecture : a trainable row of the MODELS table with axes ZYX.
    arguments : of the architecture, where they differ from the recipe's or the row's.
    position : whether the distance from the rotation axis is an input.
    recipe : "quick" (processors, minutes), "large" (graphics cards), "auto" (whichever fits the device), or
        "published" (Adam 2e-4, 4 patches of 512 x 512 x 5, 10 000 steps).
    minutes : time budget, wall clock; None with the recipe "published" = its number of steps.
    max_steps : steps per member; None = from the time budget.
    seed : of everything random.
    members : networks trained one after the other; their mean is the answer.
    batch, slices, side, crop, learning_rate, weight_decay, loss, looks : None = the recipe's.
    augment : "all" (flips of all axes, turns in the plane), "flips", or "none".
    checkpoint_seconds : time between checkpoints.
    precision : "float32", "bfloat16", or "auto" (bfloat16 on graphics cards that have it, and, with a time budget, on
        processors that are faster in it); sums are always float32.
    threads : CPU threads; 0 = by timing (or, with ``max_steps``, all up to 8).
    device : "auto" (a CUDA device if there is one), "cpu", "cuda", …
    """

    architecture: Annotated[str, _one_of(_TRAINABLE, "architecture")] = "volume"
    arguments: dict[str, int] = Field(default_factory=dict)
    position: bool = False
    recipe: Literal["auto", "quick", "large", "published"] = "auto"
    minutes: Annotated[float, Field(gt=0, le=1e5)] | None = None
    max_steps: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    members: Annotated[int, Field(ge=1, le=16)] = 1
    batch: Annotated[int, Field(ge=1, le=1024)] | None = None
    slices: Annotated[int, Field(ge=1, le=1024)] | None = None
    side: Annotated[int, Field(ge=8, le=4096)] | None = None
    crop: Annotated[int, Field(ge=0, le=128)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    loss: Annotated[str, _one_of(LOSSES, "loss")] | None = None
    looks: Annotated[int, Field(ge=1, le=1000)] | None = None
    augment: Annotated[str, _one_of(VOLUME_SYMMETRIES, "augment")] = "all"
    checkpoint_seconds: _Seconds = 15.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    device: str = "auto"

    @property
    def seconds(self) -> float:
        """The time budget in seconds."""
        return (self.minutes or 1.0) * 60

    @property
    def timed(self) -> bool:
        """Whether the number of steps comes from a time budget."""
        return self.max_steps is None and (self.minutes is not None or self.recipe != "published")

    @property
    def chosen_recipe(self) -> str:
        """The recipe, "auto" decided by the device."""
        if self.recipe != "auto":
            return self.recipe
        return "quick" if device_of(self.device).type == "cpu" else "large"

    def network_arguments(self) -> dict[str, Any]:
        """What the network is built with, as far as it differs from the row's defaults."""
        usual = QUICK_ARGUMENTS.get(self.architecture, {}) if self.chosen_recipe == "quick" else {}
        known = MODELS[self.architecture].arguments
        position = {"position": int(self.position)} if "position" in known else {}
        return {**usual, **position, **self.arguments}

    def resolved(self) -> VolumeRecipe:
        """The recipe with what the configuration says on top."""
        rows = RECIPES[self.chosen_recipe]
        names = ("batch", "slices", "side", "crop", "learning_rate", "weight_decay", "loss", "looks")
        given = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return replace(rows.get(self.architecture, rows[""]), **given)
