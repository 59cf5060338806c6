"""The foam study: Richardson-Lucy, SRCNN, DeepNet and our network on a foam whose pores are known.

Bukka et al. 2025, 10.1515/mim-2024-0017, sections 2.2, 2.4, 2.5 and 3.1: networks learn from one foam, recorded sharp
and blurred, and are judged on another ("alternate") foam they never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finescan.errors import InputError
from finescan.quantification import Measurements
from finescan.simulation.foam_scans import HRES_SIGMA_PX, Foam, plan_foam, realisations, record_foam, true_foam
from finescan.studies.foam_judging import count_pores, judged, pore_facts
from finescan.studies.foam_methods import METHODS, denoised, restore
from finescan.studies.store import Progress, StudyFolder, silent, write_page
from finescan.values import Image

PUBLISHED_SIGMAS = (3.0, 5.0, 7.0, 9.0)
MINUTES = {64: 0.05, 128: 1.0, 256: 2.5, 512: 12.0}  # per network, by the next smaller size
QUICK_MINUTES = 0.2


@dataclass(frozen=True)
class FoamStudy:
    """What to run.

    Parameters
    ----------
    size : voxels along every edge; the paper has 512.
    sigmas : blurs of the coarse scans, detector pixels.
    methods : rows of the METHODS table.
    minutes : training time per network; None = by size.
    quick : short trainings, for a look in a few minutes.
    seed : of foams, noise and training.
    device : "auto", "cpu" or a torch device.
    """

    size: int = 128
    sigmas: tuple[float, ...] = PUBLISHED_SIGMAS
    methods: tuple[str, ...] = tuple(METHODS)
    minutes: float | None = None
    quick: bool = False
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 2048:
            raise InputError(f"A foam study has 32 to 2048 voxels along an edge, but {self.size} came.")
        if not self.sigmas or min(self.sigmas) <= 0:
            raise InputError(f"A foam study needs blurs above 0 detector pixels, but {self.sigmas} came.")
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown:
            raise InputError(f"A method is one of {', '.join(METHODS)}, but {unknown[0]!r} came.")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"Training needs some time, but {self.minutes:g} minutes came.")

    @property
    def budget(self) -> float:
        """Minutes of training per network."""
        if self.minutes is not None:
            return self.minutes
        if self.quick:
            return QUICK_MINUTES * (self.size / 128) ** 2
        return MINUTES[max((s for s in MINUTES if s <= self.size), default=64)]


@dataclass(frozen=True)
class FoamResults:
    """What the study found.

    Parameters
    ----------
    study : what was run.
    truth : pores of the true volumes per realisation: count, porosity, mean sphericity and diameters.
    rows : one per realisation, method and blur: scores, pores, blur fit (plain JSON values).
    volumes : "(realisation) (what)" -> volumes, lazily read: "alternate truth", "alternate deepnet 3", …
    maps : "(realisation) (method) (blur)" -> middle slice of the MS-SSIM map, all scales fused.
    """

    study: FoamStudy
    truth: Mapping[str, Mapping[str, Any]]
    rows: tuple[Mapping[str, Any], ...]
    volumes: Mapping[str, Image] = field(default_factory=dict)
    maps: Mapping[str, NDArray] = field(default_factory=dict)

    def row(self, realisation: str, method: str, sigma: float) -> Mapping[str, Any]:
        """The row of a volume."""
        found = [
            r for r in self.rows if (r["realisation"], r["method"], r["sigma"]) == (realisation, method, float(sigma))
        ]
        if not found:
            raise InputError(f"The study holds no {method} at {sigma:g} on the {realisation} foam.")
        return found[0]


def run_foam(
    folder: Path, study: FoamStudy, *, overwrite: bool = False, progress: Progress | None = None
) -> FoamResults:
    """Run the study, or go on with it; volumes and results stay in ``folder``.

    Parameters
    ----------
    folder : for volumes (``.npy``), models and results.
    study : what to run.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    store = StudyFolder(folder, asdict(study), overwrite=overwrite)
    tell = progress or silent
    foams = {name: plan_foam(study.size, seed=seed) for name, seed in realisations(study.seed).items()}
    scans = {name: _recorded(store, name, foam, study.sigmas, tell) for name, foam in foams.items()}
    judge = _Judge(store, foams, scans)
    truth = {name: store.result(f"{name}-truth", partial(_true_facts, judge, name)) for name in foams}
    volumes = {f"{n} {k}": v for n, held in scans.items() for k, v in held.items()}
    rows, maps = [], {}
    jobs = [(m, s) for m in ("recorded", *study.methods) for s in study.sigmas]
    for done, (method, sigma) in enumerate(jobs):
        tell(done, len(jobs), f"{method}, blur {sigma:g}")
        for name in ("alternate", "training") if method == "deepnet" else ("alternate",):
            if method == "recorded":
                image = scans[name][f"lres {sigma:g}"]
            else:
                image = restore(store, method, sigma, scans, name, study)
            label = f"{name} {method} {sigma:g}"
            volumes[label] = image
            row, maps[label] = judge(image, name, method, sigma)
            rows.append({"realisation": name, "method": method, "sigma": sigma, **row})
    tell(len(jobs), len(jobs), "foam study")
    return FoamResults(study, truth, tuple(rows), volumes, maps)


def _true_facts(judge: _Judge, name: str) -> dict[str, Any]:
    return pore_facts(judge.true_pores(name))


class _Judge:
    """Judges volumes; the true pores of a foam are looked for once."""

    def __init__(self, store: StudyFolder, foams: Mapping[str, Foam], scans: Mapping[str, Mapping[str, Image]]) -> None:
        self._store, self._foams, self._scans = store, foams, scans
        self._pores: dict[str, Measurements] = {}

    def true_pores(self, name: str) -> Measurements:
        """The pores of the truth, by the same procedure as those of every result."""
        if name not in self._pores:
            self._pores[name] = count_pores(self._scans[name]["truth"], self._foams[name])
        return self._pores[name]

    def __call__(self, image: Image, name: str, method: str, sigma: float) -> tuple[dict[str, Any], NDArray]:
        """Figures and the middle slice of the similarity map."""
        label = f"{name}-{method}-{sigma:g}"
        if not self._store.has_result(label):
            for_pores = denoised(self._store, image) if method == "richardson-lucy" else image
            truth = self._scans[name]["truth"]
            facts, middle = judged(image, for_pores, truth, self._foams[name], self.true_pores(name))
            self._store.picture(label, lambda: middle)
            self._store.result(label, lambda: facts)
        return self._store.result(label, dict), self._store.picture(label, lambda: None)


def _recorded(store: StudyFolder, name: str, foam: Foam, sigmas: Sequence[float], tell: Progress) -> dict[str, Image]:
    """Truth, sharp scan and blurred scans of a foam, each made when it is not there yet."""

    def made(what: str, make: Callable[[], Image]) -> Image:
        if not store.has_volume(f"{name}-{what.replace(' ', '-')}"):
            tell(0, 1, f"{name} foam: {what}")
        return store.volume(f"{name}-{what.replace(' ', '-')}", foam.grid, lambda: np.asarray(make().data))

    volumes = {"truth": made("truth", lambda: true_foam(foam))}
    if name == "training":
        volumes["hres"] = made("hres", lambda: record_foam(foam, HRES_SIGMA_PX, role="hres"))
    for sigma in sigmas:
        volumes[f"lres {sigma:g}"] = made(f"lres {sigma:g}", partial(record_foam, foam, sigma))
    return volumes


def study_foam(
    folder: str | Path,
    *,
    size: int = 128,
    quick: bool = False,
    sigmas: Sequence[float] = PUBLISHED_SIGMAS,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FoamResults:
    """Run the foam study and write its page, figures and tables; a stopped study goes on where it was.

    Parameters
    ----------
    folder : ``report.html``, ``figures/`` (SVG, CSV, Markdown), ``results/`` (JSON), ``volumes/``, ``models/``.
    size, quick, sigmas, minutes, seed, device : see :class:`FoamStudy`.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.

    Returns
    -------
    FoamResults.
    """
    from finescan.studies.foam_page import build

    folder = Path(folder)
    study = FoamStudy(size, tuple(float(s) for s in sigmas), tuple(METHODS), minutes, quick, seed, device)
    results = run_foam(folder, study, overwrite=overwrite, progress=progress)
    write_page(folder, build(results))
    return results
