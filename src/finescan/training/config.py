"""TrainConfig: how to train."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from finescan.errors import InputError
from finescan.models import MODELS
from finescan.patches.sampling import SYMMETRIES
from finescan.training.losses import LOSSES


def _one_of(table: object, what: str) -> AfterValidator:
    names = list(table)  # type: ignore[call-overload]

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"{what} is one of {', '.join(names)}")
        return value

    return AfterValidator(check)


_TRAINABLE = [name for name, row in MODELS.items() if row.trainable and row.axes == "YX"]
_Seconds = Annotated[float, Field(gt=0, le=1e7)]


class TrainingOptions(BaseModel):
    """What the configurations of training share: frozen, unknown names refused, one sentence per mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, **values: object) -> Self:
        """A config, with an InputError (in one sentence) instead of pydantic's report."""
        try:
            return cls(**values)
        except ValidationError as e:
            first = e.errors()[0]
            name = ".".join(str(p) for p in first["loc"])
            known = f" Known are: {', '.join(cls.model_fields)}." if first["type"] == "extra_forbidden" else ""
            raise InputError(f"Training option {name!r} cannot be used: {first['msg']}.{known}") from e


class TrainConfig(TrainingOptions):
    """How to train; unknown names are refused.

    Parameters
    ----------
    architecture : a trainable row of the MODELS table.
    minutes : time budget, wall clock. It becomes a number of steps by a short timing run, so that a training which
        was interrupted and continued equals one that was not.
    seed : of everything random.
    members : most networks to train one after the other; their mean is the answer. Time left over goes to them.
    max_steps : steps per member; None = from the time budget. Set it where runs on two machines must be equal.
    batch, patch : patches per step, and their side in coarse pixels.
    learning_rate, weight_decay : of AdamW.
    loss : a row of the LOSSES table.
    augment : "all" eight symmetries, "flips", or "none".
    checkpoint_seconds : time between checkpoints.
    precision : "float32", "bfloat16", or "auto" (bfloat16 on graphics cards that have it); interpolation and sum are
        always float32.
    threads : CPU threads; 0 = by timing (or, with ``max_steps``, all up to 8).
    device : "auto" (a CUDA device if there is one), "cpu", "cuda", …
    """

    architecture: Annotated[str, _one_of(_TRAINABLE, "architecture")] = "fast"
    minutes: Annotated[float, Field(gt=0, le=1e5)] = 1.0
    seed: Annotated[int, Field(ge=0)] = 0
    members: Annotated[int, Field(ge=1, le=16)] = 3
    max_steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    patch: Annotated[int, Field(ge=12, le=512)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-4
    loss: Annotated[str, _one_of(LOSSES, "loss")] = "l1"
    augment: Annotated[str, _one_of(SYMMETRIES, "augment")] = "all"
    checkpoint_seconds: _Seconds = 15.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    device: str = "auto"

    @property
    def seconds(self) -> float:
        """The time budget in seconds."""
        return self.minutes * 60

    @property
    def timed(self) -> bool:
        """Whether the number of steps comes from the time budget."""
        return self.max_steps is None
