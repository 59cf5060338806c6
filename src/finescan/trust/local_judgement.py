"""Place by place, where fine scan is held out: sharpness, agreement and likeness; and how fine pixels are of use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.trust.local_resolution import COARSEST, FWHM, THRESHOLD, LocalRings, local_blur, local_rings
from finescan.trust.local_similarity import local_ms_ssim, scales
from finescan.trust.local_windows import SIZES_PX, Floats, Laid, Windows, fitting_windows, quantiles
from finescan.values import Grid

DETAIL = {2: "frc_nm", 3: "fsc_nm"}  # by number of axes: the name of the map of what agrees
CORRELATION = {2: "ring correlation", 3: "shell correlation"}
TOO_FINE = 1.25  # the useful pixel over the delivered one, from which a warning is due
NOISE_LIMITED = 1.2  # measured resolution over that of a perfect map, up to which the fine scan's noise is the reason
_THRESHOLD_WORDS = {"half": "0.5", "one_seventh": "1/7", "half_bit": "half a bit"}


@dataclass(frozen=True)
class LocalJudgement:
    """Maps over the windows of one fine scan (picture or volume); NaN where a window is not used or cannot tell.

    Parameters
    ----------
    windows : where they lie on the fine scan.
    grid : where their middles lie.
    sigma_nm : name -> blur against the fine scan, see :func:`local_blur`.
    rings : name -> ring correlation with the fine scan, see :func:`local_rings`.
    ms_ssim : name -> likeness with the fine scan, see :func:`local_ms_ssim`.
    threshold : of the ring correlation.
    """

    windows: Laid
    grid: Grid
    sigma_nm: Mapping[str, Floats]
    rings: Mapping[str, LocalRings]
    ms_ssim: Mapping[str, Floats]
    threshold: str = THRESHOLD

    @property
    def readable_nm(self) -> tuple[float, float]:
        """Shortest and longest period that a window can tell; the wrong way round where its pixels are too unequal."""
        sides = [p / self.windows.step_px for p in self.grid.pixel_size_nm]
        return 2 * max(sides), COARSEST * self.windows.size_px * min(sides)

    def maps(self, name: str) -> dict[str, Floats]:
        """The three maps of an image: "blur_fwhm_nm", "frc_nm" (of volumes "fsc_nm"), "ms_ssim"."""
        return {
            "blur_fwhm_nm": (FWHM * self.sigma_nm[name]).astype(np.float32),
            DETAIL[self.grid.ndim]: self.rings[name].resolution_nm,
            "ms_ssim": self.ms_ssim[name],
        }


def judge_locally(
    images: Mapping[str, NDArray[np.floating]],
    reference: NDArray[np.floating],
    known: NDArray[np.bool_],
    grid: Grid,
    *,
    data_range: float,
    windows: Windows | None = None,
) -> LocalJudgement | None:
    """Blur, ring correlation and MS-SSIM of each image against a recorded fine scan, window by window.

    Parameters
    ----------
    images : name -> (h, w), or (d, h, w) where that is small enough to be held in memory (larger ones:
        :func:`finescan.trust.judge_volume_locally`), on ``grid``.
    reference : the fine scan on ``grid``.
    known : pixels that may count.
    data_range : of MS-SSIM, grey levels.
    windows : over ``known``; None = :func:`finescan.trust.local_windows.fitting_windows`.

    Returns
    -------
    None where no window fits into the known pixels: then nothing is said.
    """
    found = windows or fitting_windows(known)
    if found is None or not found.used.any():
        return None
    size = grid.pixel_size_nm
    return LocalJudgement(
        found.laid,
        found.laid.grid(grid),
        local_blur(images, reference, found, size),
        local_rings(images, reference, found, size),
        {k: local_ms_ssim(v, reference, found, data_range=data_range) for k, v in images.items()},
    )


def local_facts(places: Sequence[LocalJudgement], ndim: int = 2) -> dict[str, Any]:
    """Windows, threshold, and the spread of every map over all places, as plain JSON values.

    Parameters
    ----------
    ndim : 2 of pictures, 3 of volumes, which have windows of another size.

    Returns
    -------
    "images": name -> "blur_sigma_nm", "blur_fwhm_nm", "frc_nm" ("fsc_nm" of volumes), "ms_ssim" -> median, low and
    high (10 and 90 %) and the share of the windows that tell nothing ("unread_share").
    """
    if not places:
        return {"windows": 0, "reason": f"No window of {SIZES_PX[ndim][-1]} px fits into the held-out fine scan."}
    first = places[0]
    return {
        "correlation": CORRELATION[ndim],
        "windows": sum(int(p.windows.used.sum()) for p in places),
        "window_px": first.windows.size_px,
        "step_px": first.windows.step_px,
        "threshold": first.threshold,
        "threshold_correlation": _THRESHOLD_WORDS[first.threshold],
        "ms_ssim_scales": scales(first.windows),
        "readable_nm": [float(v) for v in first.readable_nm],
        "images": {name: _spreads(places, name) for name in first.sigma_nm},
    }


def threshold_words(name: str) -> str:
    """The correlation of a threshold: "0.5", "1/7" or "half a bit"."""
    return _THRESHOLD_WORDS[name]


def length(nm: float) -> str:
    """A length in nm or µm, with three figures.

    >>> length(47.91), length(2130.0)
    ('47.9 nm', '2.13 µm')
    """
    return f"{nm / 1e3:.3g} µm" if nm >= 999.5 else f"{nm:.3g} nm"


def _spreads(places: Sequence[LocalJudgement], name: str) -> dict[str, Any]:
    maps = [{**p.maps(name), "blur_sigma_nm": p.sigma_nm[name]} for p in places]
    return {
        k: _spread(np.concatenate([m[k][p.windows.used] for m, p in zip(maps, places, strict=True)])) for k in maps[0]
    }


def _spread(values: Floats) -> dict[str, float | None]:
    low, median, high = quantiles(values, (0.1, 0.5, 0.9)) or (None, None, None)
    return {"median": median, "low": low, "high": high, "unread_share": float(np.mean(~np.isfinite(values)))}


@dataclass(frozen=True)
class UsefulPixel:
    """How fine pixels show anything more.

    Parameters
    ----------
    resolution_nm : period down to which the map agrees with held-out fine scan; NaN = it agrees on nothing.
    limit_nm : what a perfect map would have come to, for the noise of the fine scan; NaN = not known.
    pixel_nm, coarse_nm : delivered pixels, and recorded ones (NaN = not known).
    threshold : correlation, in words.
    against : what it was measured on.
    ndim : 2 of a picture, 3 of a volume.
    """

    resolution_nm: float
    limit_nm: float
    pixel_nm: float
    coarse_nm: float
    threshold: str
    against: str = "held-out fine scan"
    ndim: int = 2

    @property
    def useful_nm(self) -> float:
        """Two pixels for every period that is shown."""
        return self.resolution_nm / 2

    @property
    def noise_limited(self) -> bool:
        """The fine scan's own noise hides whether there is finer detail."""
        return bool(self.resolution_nm <= NOISE_LIMITED * self.limit_nm)

    @property
    def too_fine(self) -> bool:
        """The pixels delivered are finer than the detail in them."""
        return bool(self.useful_nm > TOO_FINE * self.pixel_nm) and not self.noise_limited

    def sentence(self) -> str:
        """What it comes to."""
        what, pixels = ("volume", "voxels") if self.ndim == 3 else ("map", "pixels")
        with_what = f"{CORRELATION[self.ndim]} {self.threshold} with {self.against}"
        if math.isnan(self.resolution_nm):
            return (
                f"No common detail was found ({with_what}): what the {what} shows beyond the coarse scan is not "
                "confirmed."
            )
        held, pixel, useful = (length(v) for v in (self.resolution_nm, self.pixel_nm, self.useful_nm))
        if self.too_fine:
            return (
                f"The {what} has {pixels} of {pixel} but holds detail down to {held} only ({with_what}): {pixels} "
                f"finer than {useful} show nothing more.{self._ratios()}"
            )
        if self.noise_limited and self.useful_nm > TOO_FINE * self.pixel_nm:
            return (
                f"The {what} agrees with {self.against} down to {held} ({with_what}); finer than that the noise "
                "of the fine scan itself hides whether there is detail."
            )
        return f"The {what} holds detail down to {held} ({with_what}), which its {pixels} of {pixel} are needed for."

    def _ratios(self) -> str:
        pixels = "voxels" if self.ndim == 3 else "pixels"
        if math.isnan(self.coarse_nm):
            return ""
        if self.useful_ratio < 1:
            return f" That is coarser than the coarse {pixels} of {length(self.coarse_nm)} themselves."
        return (
            f" The useful ratio to the coarse {pixels} is {self.useful_ratio:.2g}, the delivered one {self.ratio:.2g}."
        )

    @property
    def ratio(self) -> float:
        """Coarse pixel over delivered pixel."""
        return self.coarse_nm / self.pixel_nm

    @property
    def useful_ratio(self) -> float:
        """Coarse pixel over the largest pixel that still shows all the detail there is."""
        return self.coarse_nm / self.useful_nm

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None = not known."""
        numbers = {
            "resolution_nm": self.resolution_nm,
            "limit_nm": self.limit_nm,
            "pixel_nm": self.pixel_nm,
            "useful_pixel_nm": self.useful_nm,
            "ratio": self.ratio,
            "useful_ratio": self.useful_ratio,
        }
        known = {k: float(v) if math.isfinite(v) else None for k, v in numbers.items()}
        words = {"threshold": self.threshold, "too_fine": self.too_fine, "noise_limited": self.noise_limited}
        return {**known, **words, "sentence": self.sentence()}
