"""TrainConfig: how to train."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from finescan.errors import InputError
from finescan.models import MODELS
from finescan.patches.sampling import SYMMETRIES
from finescan.training.adversarial import ADVERSARIES
from finescan.training.job import device_of
from finescan.training.losses import LOSSES
from finescan.training.recipes import RECIPES, Recipe
from finescan.training.schedules import OPTIMISERS, SCHEDULES


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


_Weight = Annotated[float, Field(ge=0, le=100)]
FINE_TUNING = 0.25  # of the usual learning rate, where weights are trained already


class TermOptions(TrainingOptions):
    """What is made small beside the content loss; None = the recipe's. See :class:`finescan.training.terms.Terms`.

    Parameters
    ----------
    critic : a row of the ADVERSARIES table, or "none".
    adversarial, perceptual, texture : weights of the terms, relative to the content loss of pictures in [-1, 1];
        a critic that is asked for has 1e-3.
    critic_steps : of the critic per step of the network.
    content_share : share of the steps, from the first, with the content loss alone.
    vgg, vgg_sha256 : weights of VGG19 for the perceptual term (and for a texture extractor to start from): a file, or
        an address with its SHA-256. Without, the network's own texture extractor judges.
    """

    critic: Annotated[str, _one_of(["none", *ADVERSARIES], "critic")] | None = None
    adversarial: _Weight | None = None
    perceptual: _Weight | None = None
    texture: _Weight | None = None
    critic_steps: Annotated[int, Field(ge=1, le=100)] | None = None
    content_share: Annotated[float, Field(ge=0, le=1)] | None = None
    vgg: str | None = None
    vgg_sha256: str | None = None

    def given(self) -> dict[str, Any]:
        """What differs from the recipe's terms; a critic alone has the published weight, and none has no weight."""
        names = ("critic", "adversarial", "perceptual", "texture", "critic_steps", "content_share")
        values = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        if "critic" in values:
            values.setdefault("adversarial", 0.0 if self.critic == "none" else 1e-3)
        return values


class TrainConfig(TrainingOptions):
    """How to train; unknown names are refused. Where a default is None, the recipe decides.

    Parameters
    ----------
    architecture : a trainable row of the MODELS table.
    arguments : of the architecture, where they differ from the recipe's or the row's.
    recipe : "auto" ("quick" on processors, "large" on graphics cards), or "published": the papers' numbers where there
        is a paper (TTSR: Yang et al. 2020, Reclik et al. 2025; SRResNet: DLE-EM; SwinIR-light: Möller et al. 2023).
    minutes : time budget, wall clock; None = one minute, or the number of steps of the recipe "published". It becomes
        a number of steps by a short timing run, so that a training which was interrupted and continued equals one
        that was not.
    seed : of everything random.
    members : most networks to train one after the other; their mean is the answer. Time left over goes to them.
    max_steps : steps per member; None = from the time budget. Set it where runs on two machines must be equal.
    batch, patch : patches per step, and their side in coarse pixels.
    learning_rate, weight_decay, optimiser, schedule : of the descent (OPTIMISERS and SCHEDULES tables). Networks that
        start from a model have a quarter of the recipe's rate.
    loss : content loss, a row of the LOSSES table.
    terms : what is made small beside it.
    freeze_extractor : whether a texture extractor keeps the weights it starts with; much faster on processors.
    augment : "all" eight symmetries, "flips", or "none"; references get their own, drawn separately.
    checkpoint_seconds : time between checkpoints.
    precision : "float32", "bfloat16", or "auto" (bfloat16 on graphics cards that have it); interpolation and sum are
        always float32.
    threads : CPU threads; 0 = by timing (or, with ``max_steps``, all up to 8).
    device : "auto" (a CUDA device if there is one), "cpu", "cuda", …
    """

    architecture: Annotated[str, _one_of(_TRAINABLE, "architecture")] = "fast"
    arguments: dict[str, int | float] = Field(default_factory=dict)
    recipe: Literal["auto", "quick", "large", "published"] = "auto"
    minutes: Annotated[float, Field(gt=0, le=1e5)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    members: Annotated[int, Field(ge=1, le=16)] | None = None
    max_steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1, le=1024)] | None = None
    patch: Annotated[int, Field(ge=12, le=512)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    optimiser: Annotated[str, _one_of(OPTIMISERS, "optimiser")] | None = None
    schedule: Annotated[str, _one_of(SCHEDULES, "schedule")] | None = None
    loss: Annotated[str, _one_of(LOSSES, "loss")] | None = None
    terms: TermOptions = TermOptions()
    freeze_extractor: bool | None = None
    augment: Annotated[str, _one_of(SYMMETRIES, "augment")] = "all"
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
        """Whether the number of steps comes from the time budget."""
        own = self.recipe_row()
        return self.max_steps is None and (self.minutes is not None or not (own.steps or own.epochs))

    def recipe_row(self) -> Recipe:
        """The row of the RECIPES table; "auto" is decided by the device."""
        name = self.recipe
        if name == "auto":
            name = "quick" if device_of(self.device).type == "cpu" else "large"
        rows = RECIPES[name]
        return rows.get(self.architecture, rows[""])

    def resolved(self, factor: int, *, starts: bool = False) -> Recipe:
        """The recipe with what the configuration says on top.

        Parameters
        ----------
        factor : fine pixels per coarse pixel.
        starts : whether weights are trained already.
        """
        row = self.recipe_row()
        if row.fine_patch:
            row = replace(row, patch=row.fine_patch // factor)
        row = replace(row, batch=row.batches.get(factor, row.batch))
        descent = _with(row.descent, self, ("weight_decay", "optimiser", "schedule"))
        rate = self.learning_rate or row.descent.learning_rate * (FINE_TUNING if starts else 1)
        return replace(
            _with(row, self, ("batch", "patch", "members", "loss", "freeze_extractor")),
            descent=replace(descent, learning_rate=rate),
            terms=replace(row.terms, **self.terms.given()),
            arguments={**row.arguments, **self.arguments},
        )


def _with(value: Any, config: TrainConfig, names: tuple[str, ...]) -> Any:
    """A frozen value with what the configuration says of these names."""
    return replace(value, **{n: getattr(config, n) for n in names if getattr(config, n) is not None})
