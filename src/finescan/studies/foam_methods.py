"""The contestants of the foam study: each takes a blurred volume and gives a restored one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.studies.store import StudyFolder
from finescan.values import Grid, Image, Pair, Residual, Verdict, Warp

if TYPE_CHECKING:
    from finescan.studies.foam import FoamStudy

Scans = Mapping[str, Mapping[str, Image]]
Method = Callable[[StudyFolder, float, Scans, str, "FoamStudy"], NDArray[np.float32]]
ITERATIONS = 30  # of Richardson-Lucy, as published


def restore(store: StudyFolder, method: str, sigma: float, scans: Scans, name: str, study: FoamStudy) -> Image:
    """The restored volume of a realisation, computed when it is not stored yet."""
    grid = scans[name]["truth"].grid
    return store.volume(f"{name}-{method}-{sigma:g}", grid, lambda: METHODS[method](store, sigma, scans, name, study))


def _richardson_lucy(store: StudyFolder, sigma: float, scans: Scans, name: str, study: FoamStudy) -> Any:
    from finescan.models.deconvolution import deconvolve

    device = None if study.device == "auto" else study.device
    return deconvolve(scans[name][f"lres {sigma:g}"], sigma, iterations=ITERATIONS, device=device).data


def denoised(store: StudyFolder, image: Image) -> Image:
    """Non-local means, as published only for Richardson-Lucy and only for the counting of pores.

    The noise is that of the solid: deconvolution correlates neighbours, which fools estimates from differences.
    """
    from finescan.models.denoising import non_local_means
    from finescan.quantification import otsu

    some = np.asarray(image.data[image.grid.shape[0] // 2], np.float64)
    some = some[np.isfinite(some)]
    if not np.ptp(some):  # one grey level: nothing to denoise
        return image
    solid = some[some > otsu(some).value]
    noise = 1.4826 * float(np.median(np.abs(solid - np.median(solid))))
    if not noise:
        return image
    return store.volume(f"{image.name}-denoised", image.grid, lambda: non_local_means(image.data, sigma=noise))


def _network(architecture: str) -> Method:
    def method(store: StudyFolder, sigma: float, scans: Scans, name: str, study: FoamStudy) -> Any:
        from finescan.enhancement import VolumeEnhanceConfig, enhance_volume
        from finescan.models import load_model

        folder = store.path / "models" / f"{architecture}-{sigma:g}"
        if not (folder / "card.json").exists():
            before = [s for s in study.sigmas if s < sigma]
            start = store.path / "models" / f"{architecture}-{max(before):g}" if before else None
            _train(architecture, folder, scans["training"], sigma, start, study)
        # the bare network: what it makes of grey levels it never saw is part of the comparison
        config = VolumeEnhanceConfig(dtype="float32", device=study.device, guard=False)
        return enhance_volume(load_model(folder), scans[name][f"lres {sigma:g}"], config=config).image.data

    return method


def _train(
    architecture: str, folder: Path, scans: Mapping[str, Image], sigma: float, start: Path | None, study: FoamStudy
) -> None:
    """All of the training foam trains, as published, apart from a stop box.

    Every network goes on from what it learned at the next weaker blur: the paper's 10,000 steps from scratch are out of
    reach of minutes on a processor.
    """
    from finescan.models import load_model, save_model
    from finescan.patches import VolumeSplitConfig, make_volume_patches
    from finescan.training import VolumeTrainConfig, train_volume

    pair = same_place(scans[f"lres {sigma:g}"], scans["hres"])
    patches = make_volume_patches([pair], config=VolumeSplitConfig(test_share=0.0))
    config = VolumeTrainConfig(architecture=architecture, minutes=study.budget, seed=study.seed, device=study.device)
    initial = load_model(start) if start is not None and (start / "card.json").exists() else None
    model = train_volume(patches, config, initial=initial, folder=folder / "checkpoint")
    save_model(model, folder)


def same_place(lr: Image, hr: Image) -> Pair:
    """A pair whose registration is known: both volumes were reconstructed on one grid."""
    shape = Grid.of((1,) * lr.grid.ndim, lr.grid.pixel_size_nm, lr.grid.origin_nm)
    residual = Residual(0.0, 0.0, 1.0, float("nan"), {"mode": "one grid"}, shape)
    return Pair(lr, hr, Warp.identity(lr.grid.ndim), Verdict.FOUND, ("Both lie on one grid.",), residual)


#: name -> how it restores. "volume" is our own network.
METHODS: dict[str, Method] = {
    "richardson-lucy": _richardson_lucy,
    "srcnn3d": _network("srcnn3d"),
    "deepnet": _network("deepnet"),
    "volume": _network("volume"),
}
