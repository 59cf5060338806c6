"""ModelCard: what a model was trained on and what it is valid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finescan.errors import ModelError

SCHEMA = 1


@dataclass(frozen=True)
class GreyStatistics:
    """Grey levels of the training area: mean, standard deviation, and the 0.1 and 99.9 percentiles."""

    mean: float
    std: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class ModelCard:
    """The facts a model travels with.

    Parameters
    ----------
    architecture : name in the MODELS table.
    arguments : keyword arguments the network was built with (plain JSON values).
    factor : whole output pixels per working LR pixel and axis.
    halo : radius of the receptive field, LR pixels, interpolating skip included; in the YX plane for volumes.
    pixel_size_nm : pixel size of the output, per axis; the input has ``factor`` times that.
    sr_factor : real ratio of the recorded coarse to the recorded fine pixel size, per axis.
    lr_grey, hr_grey : grey-level statistics of the coarse and the fine scan over the training area.
    gain, offset : linear map that takes coarse grey levels to fine ones: ``hr = gain * lr + offset``.
    lr_range : lowest and highest grey level of the coarse scan, locally averaged, seen in training.
    hr_dtype : the number format of the fine scan.
    axes : "YX", or "ZYX" for volumes, whose input is the coarse volume on the grid of the result (``factor`` is 1).
    halo_z : radius of the receptive field along z, slices; 0 for pictures.
    training : extent, seeds, seconds, steps, measured gains on held-out data (plain JSON values).
    provenance : versions, file names and hashes, date (plain JSON values).
    """

    architecture: str
    arguments: Mapping[str, Any]
    factor: int
    halo: int
    pixel_size_nm: tuple[float, ...]
    sr_factor: tuple[float, ...]
    lr_grey: GreyStatistics
    hr_grey: GreyStatistics
    gain: float = 1.0
    offset: float = 0.0
    lr_range: tuple[float, float] = (float("-inf"), float("inf"))
    hr_dtype: str = "float32"
    axes: str = "YX"
    halo_z: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the schema version."""
        d = dict(vars(self))
        d["lr_grey"], d["hr_grey"] = self.lr_grey.to_dict(), self.hr_grey.to_dict()
        for k in ("arguments", "training", "provenance"):
            d[k] = dict(d[k])
        for k in ("pixel_size_nm", "sr_factor"):
            d[k] = list(d[k])
        # JSON knows no infinity
        d["lr_range"] = [None if abs(v) == float("inf") else v for v in self.lr_range]
        return {"schema": SCHEMA, **d}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> ModelCard:
        """Inverse of :meth:`to_dict`; raises ModelError on another schema, unknown or missing entries."""
        d = dict(d)
        schema = d.pop("schema", None)
        if schema != SCHEMA:
            raise ModelError(
                f"This finescan reads model cards of schema {SCHEMA}, but {schema!r} came. Train again, or use the "
                "finescan version that wrote the model."
            )
        try:
            d["lr_grey"], d["hr_grey"] = GreyStatistics(**d["lr_grey"]), GreyStatistics(**d["hr_grey"])
            for k in ("pixel_size_nm", "sr_factor"):
                d[k] = tuple(float(v) for v in d[k])
            low, high = d["lr_range"]
            d["lr_range"] = (float("-inf") if low is None else low, float("inf") if high is None else high)
            return cls(**d)
        except (KeyError, TypeError, ValueError) as e:
            raise ModelError(f"The model card is not complete or has unknown entries ({e}).") from e

    def __str__(self) -> str:
        size = " x ".join(f"{p:.6g}" for p in self.pixel_size_nm)
        return f"{self.architecture} x{self.factor} for {size} nm output, halo {self.halo} LR px"
