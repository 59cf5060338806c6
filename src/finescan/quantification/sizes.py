"""Size distributions of objects in pictures, compared: distances, classes of size, shares of area with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finescan.errors import InputError
from finescan.trust.blocks import VALID_SHARE, blocks, mean_and_error, nearness
from finescan.values import Grid, Region

CLASS_STEPS = (1, 2, 4, 8)  # coarse pixels at which a class of diameters ends and the next begins
KS_FIVE_PERCENT = 1.3581  # of the asymptotic Kolmogorov distribution


def ks_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Two-sample Kolmogorov-Smirnov distance: the largest difference of the cumulative shares, 0 to 1.

    NaN where a sample is empty; values that are NaN are left out.

    Source: Smirnov 1948, doi:10.1214/aoms/1177730256.

    Examples
    --------
    >>> ks_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    a, b = (np.sort(_finite(v)) for v in (one, other))
    if not (a.size and b.size):
        return float("nan")
    both = np.concatenate([a, b])
    shares = [np.searchsorted(v, both, side="right") / v.size for v in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def ks_limit(one: int, other: int) -> float:
    """Distance that two samples of one distribution exceed in 5 % of the cases; NaN for an empty sample.

    The values must be independent. Pores seen twice (in the fine scan and in the enhanced map) are not: their distance
    is usually smaller.
    """
    return KS_FIVE_PERCENT * float(np.sqrt((one + other) / (one * other))) if one and other else float("nan")


def size_classes(coarse_pixel_nm: float) -> NDArray[np.float64]:
    """Edges of classes of diameters, nm: below one coarse pixel, 1 to 2, 2 to 4, 4 to 8, and above.

    Examples
    --------
    >>> size_classes(50.0).tolist()
    [0.0, 50.0, 100.0, 200.0, 400.0, inf]
    """
    if not coarse_pixel_nm > 0:
        raise InputError(f"A pixel size must be positive, but {coarse_pixel_nm:g} nm came.")
    return np.array([0.0, *(coarse_pixel_nm * s for s in CLASS_STEPS), np.inf])


@dataclass(frozen=True)
class SizeSample:
    """The objects of one picture in one area.

    Parameters
    ----------
    name : "coarse", "enhanced", "fine".
    diameters_nm : equivalent circular diameter of every counted object.
    area_share : area of all objects (those cut by the border included) over the area, 0 to 1.
    area_error : its standard error from blocks; NaN if there is one block only.
    blocks, area_px : number of blocks behind it, and pixels of the area.
    found, lost, invented : objects against the reference, matched one by one; None = not matched.
    reference : the others are compared with it.
    """

    name: str
    diameters_nm: NDArray[np.float64]
    area_share: float
    area_error: float = float("nan")
    blocks: int = 0
    area_px: int = 0
    found: int | None = None
    lost: int | None = None
    invented: int | None = None
    reference: bool = False

    @property
    def count(self) -> int:
        """Number of counted objects."""
        return int(np.size(self.diameters_nm))

    @property
    def median_nm(self) -> float:
        """Median diameter, NaN without objects."""
        return float(np.median(self.diameters_nm)) if self.count else float("nan")

    @property
    def mean_nm(self) -> float:
        """Mean diameter, NaN without objects."""
        return float(np.mean(self.diameters_nm)) if self.count else float("nan")

    def per_class(self, edges_nm: ArrayLike) -> NDArray[np.int64]:
        """Objects per class of diameters; a class includes its lower edge."""
        edges = np.asarray(edges_nm, np.float64)
        where = np.searchsorted(edges, self.diameters_nm, side="right") - 1
        return np.bincount(where, minlength=edges.size - 1)[: edges.size - 1].astype(np.int64)


@dataclass(frozen=True)
class SizeComparison:
    """The objects of several pictures of one area.

    Parameters
    ----------
    area : what the area is ("held-out blocks").
    samples : one per picture.
    edges_nm : classes of diameters, see :func:`size_classes`.
    against : name of the sample whose distribution the others are compared with.
    """

    area: str
    samples: tuple[SizeSample, ...]
    edges_nm: NDArray[np.float64]
    against: str

    def sample(self, name: str) -> SizeSample:
        """The sample of a name."""
        return next(s for s in self.samples if s.name == name)

    def distance(self, name: str) -> float:
        """Kolmogorov-Smirnov distance of a sample to the one it is compared with; NaN for that one itself."""
        other = self.sample(self.against)
        return float("nan") if name == self.against else ks_distance(self.sample(name).diameters_nm, other.diameters_nm)

    def limit(self, name: str) -> float:
        """Distance to be expected of independent samples in 5 % of the cases."""
        return ks_limit(self.sample(name).count, self.sample(self.against).count)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; what is not known is None."""
        rows = {}
        for s in self.samples:
            compared = {} if s.name == self.against else {
                "ks_distance": self.distance(s.name), "ks_limit_5_percent": self.limit(s.name)
            }  # fmt: skip
            row = {
                "objects": s.count,
                "area_share": s.area_share,
                "area_share_error": s.area_error,
                "blocks": s.blocks,
                "area_px": s.area_px,
                "median_diameter_nm": s.median_nm,
                "mean_diameter_nm": s.mean_nm,
                "per_class": s.per_class(self.edges_nm).tolist(),
                **compared,
                **{k: getattr(s, k) for k in ("found", "lost", "invented") if getattr(s, k) is not None},
            }
            rows[s.name] = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
        return {"classes_from_nm": self.edges_nm[:-1].tolist(), "against": self.against, "rows": rows}


def pooled(parts: Sequence[SizeComparison]) -> SizeComparison:
    """One comparison from several of the same pictures (one per fine scan); shares of area are weighted by area."""
    if not parts:
        raise InputError("Nothing to pool: at least one comparison is needed.")
    samples = []
    for k, first in enumerate(parts[0].samples):
        rows = [p.samples[k] for p in parts]
        weight = np.array([r.area_px for r in rows], float)
        weight = weight / weight.sum() if weight.any() else np.full(len(rows), 1 / len(rows))
        error = float(np.sqrt(np.sum((weight * [r.area_error for r in rows]) ** 2)))
        counted: dict[str, Any] = {
            f: None if any(getattr(r, f) is None for r in rows) else sum(getattr(r, f) for r in rows)
            for f in ("found", "lost", "invented")
        }
        samples.append(
            replace(
                first,
                diameters_nm=np.concatenate([r.diameters_nm for r in rows]),
                area_share=float(weight @ [r.area_share for r in rows]),
                area_error=error,
                blocks=sum(r.blocks for r in rows),
                area_px=sum(r.area_px for r in rows),
                **counted,
            )
        )
    return replace(parts[0], samples=tuple(samples))


def area_share(
    objects: NDArray[np.bool_], counted: NDArray[np.bool_], regions: Sequence[Region] | None = None
) -> tuple[float, float, int]:
    """Share of the area that objects take, its standard error, and the number of blocks behind it.

    Parameters
    ----------
    objects : True on objects.
    counted : True where pixels count, same shape.
    regions : boxes to make the blocks of; None = the whole picture. Few boxes are halved; blocks that lie side by side
        are not taken for independent (see :func:`finescan.trust.blocks.mean_and_error`).
    """
    if objects.shape != counted.shape or objects.ndim != 2:
        raise InputError(
            f"Objects and counted pixels are two arrays of one 2-D shape, but {objects.shape}, {counted.shape} came."
        )
    total = int(np.count_nonzero(counted))
    if not total:
        return float("nan"), float("nan"), 0
    share = float(np.count_nonzero(objects & counted) / total)
    whole = [Region(Grid.of(objects.shape, 1.0), (0, 0), objects.shape)] if regions is None else list(regions)
    used = [b for b in blocks(whole) if counted[b.slices].mean() >= VALID_SHARE]
    if not used:
        return share, float("nan"), 0
    values = np.array([objects[b.slices][counted[b.slices]].mean() for b in used])
    _, error, n = mean_and_error(values, nearness(used))
    return share, error, n


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    v = np.asarray(values, np.float64).ravel()
    return v[np.isfinite(v)]
