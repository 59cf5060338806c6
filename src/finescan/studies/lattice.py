"""The lattice study: Möller et al. 2023 from recording to curves, on simulated gallium nitride and graphite.

B. Möller et al., "A super-resolution training paradigm based on low-resolution data only to surpass the technical
limits of STEM and STM microscopy", CVPR Workshops 2023: networks that have learned from coarse pictures alone, judged
on fine ones of other samples over zoom levels (Figures 1, 5 and 7; recorded apart: 6 and 8), the contributions of the
sub-processes (Table 3), and, which the paper does not have, what each method does to the atom columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan import io
from finescan.errors import FinescanError
from finescan.patches import PatchSet, multiscale_patches
from finescan.quantification import compare_lattices, find_inventions, measure_lattice, measure_scan
from finescan.studies import lattice_data as data
from finescan.studies.lattice_physical import PhysicalResults, judge_physically
from finescan.studies.learning import trained, training_facts
from finescan.studies.store import Progress, SizedStudy, StudyFolder, silent, write_page
from finescan.trust.zoom_curves import ZoomCurve, zoom_curve
from finescan.values import Image

if TYPE_CHECKING:
    from finescan.models import Model
    from finescan.training import TrainConfig

Array = NDArray[np.float32]
Method = Callable[[Array], Array]

PERCENTILES = (0.1, 99.9)  # of the fine picture: the range that PSNR refers to
PUBLISHED_METRICS = ("psnr", "ms_ssim", "gauss-psnr", "gauss-ms_ssim")
PICTURED_PX = 96  # coarse pixels of the pictures on the page


class LatticeStudy(SizedStudy[data.Size]):
    """Sizes: "quick" (five minutes on two cores), "medium" (about an hour), "full" (the published sizes, for a GPU)."""

    NAME = "lattice"
    SIZES = data.SIZES


@dataclass(frozen=True)
class LatticeResults:
    """What the study found, by kind ("stem", "stm").

    Parameters
    ----------
    study : what was run.
    curves : over zoom levels, pixels at their true places.
    published : the same at 100 % steps with the published decimation and metrics.
    physical : of pictures recorded apart, over zoom levels.
    lattices : method -> what happened to the atom columns of the coarse picture; "recorded" = nothing.
    training : kind and method -> how it was trained.
    pictures : method -> part of the picture; "coarse" and "truth" beside.
    notes : what was found out about the pictures.
    """

    study: LatticeStudy
    curves: Mapping[str, ZoomCurve]
    published: Mapping[str, ZoomCurve]
    physical: Mapping[str, PhysicalResults]
    lattices: Mapping[str, Mapping[str, Any]]
    training: Mapping[str, Mapping[str, Any]]
    pictures: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def run_lattice(
    folder: Path, study: LatticeStudy, *, overwrite: bool = False, progress: Progress | None = None
) -> LatticeResults:
    """Run the study, or go on with it; models and results stay in ``folder``.

    Parameters
    ----------
    folder : for models and results.
    study : what to run.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    store = StudyFolder(folder, asdict(study), overwrite=overwrite)
    runs = {n: _Run(store, study, kind, progress or silent) for n, kind in data.KINDS.items()}
    found = {n: run.all() for n, run in runs.items()}
    names = sorted(p.name for p in (folder / "models").iterdir() if (p / "card.json").exists())
    return LatticeResults(
        study,
        {n: ZoomCurve.from_dict(f["curve"]) for n, f in found.items()},
        {n: ZoomCurve.from_dict(f["published"]) for n, f in found.items()},
        {n: f["physical"] for n, f in found.items()},
        {n: f["lattices"] for n, f in found.items()},
        {n: training_facts(store, n) for n in names},
        {n: f["pictures"] for n, f in found.items()},
        {n: f["notes"] for n, f in found.items()},
    )


class _Run:
    """The steps of the study for one kind of picture."""

    def __init__(self, store: StudyFolder, study: LatticeStudy, kind: data.Kind, tell: Progress) -> None:
        self.store, self.study, self.size, self.kind, self._tell = store, study, study.numbers, kind, tell

    def all(self) -> dict[str, Any]:
        """Record, train, judge."""
        kind = self.kind
        self._tell(0, 1, f"{kind.name}: recording")
        self.recorded = data.record(kind, self.size, self.study.seed)
        models, notes = self._models()
        methods = {n: _as_method(m, io.is_probe(self.recorded.test_fine)) for n, m in models.items()}
        fine = self.recorded.test_fine.array().astype(np.float32)
        low, high = np.percentile(fine, PERCENTILES)
        self._range = float(high - low)
        curve = self._result("curve", lambda: self._curve(fine, methods).to_dict())
        published = self._result("published", lambda: self._as_published(fine, methods).to_dict())
        pieces = self.size.pieces[kind.name]
        physical = judge_physically(self.recorded, pieces, kind.sr_factor, methods, self._range, self._result)
        lattices = self._result("lattices", lambda: self._lattices(methods))
        return {
            "curve": curve, "published": published, "physical": physical, "lattices": lattices, "notes": notes,
            "pictures": self._pictures(methods),
        }  # fmt: skip

    def _result(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        self._tell(0, 1, f"{self.kind.name}: {name}")
        return self.store.result(f"{self.kind.name}-{name}", make)

    # ------------------------------------------------------------------ learning
    def _models(self) -> tuple[dict[str, Model], list[str]]:
        """Bicubic interpolation and the networks, in the order they are shown."""
        from finescan.models import Model, build
        from finescan.training.contestants import make_card

        first = self.kind.methods[0]
        patches = self._patches(first)
        card = make_card(patches, "bicubic", {}, {})
        models = {"bicubic": Model(build("bicubic", self.kind.sr_factor), card)}
        for method in self.kind.methods:
            models[method] = self._learned(method, patches if method == first else None)
        ours = self._config(data.OURS)
        return models, [f"finescan learned {ours}, with {ours.decoupling:.0%} of the noise decoupled."]

    def _config(self, method: str) -> Any:
        return self.kind.config(method, self.recorded.train[0])

    def _patches(self, method: str) -> PatchSet:
        images = self.recorded.train_fine if method == data.ORACLE else self.recorded.train
        return multiscale_patches(images, self._config(method))

    def _learned(self, method: str, patches: PatchSet | None) -> Model:
        from finescan.models import load_model

        name = f"{self.kind.name}-{method}"
        folder = self.store.path / "models" / name
        if (folder / "card.json").exists():
            return load_model(folder)
        self._tell(0, 1, f"training {name}")

        def tell(done: float, total: float, message: str) -> None:
            self._tell(done, total, f"{name}: {message}")

        return trained(self.store, name, patches or self._patches(method), self._training(), progress=tell)

    def _training(self) -> TrainConfig:
        from finescan.training import TrainConfig

        size, study = self.size, self.study
        common: dict[str, Any] = {"architecture": size.architecture, "seed": study.seed, "device": study.device}
        if size.steps:
            return TrainConfig(**common, max_steps=size.steps, members=1)
        if size.minutes is None:
            return TrainConfig(**common, recipe="published")
        return TrainConfig(**common, minutes=size.minutes)

    # ------------------------------------------------------------------ judging
    def _curve(self, fine: Array, methods: Mapping[str, Method]) -> ZoomCurve:
        count = self.size.levels[self.kind.name]
        levels = np.linspace(self.kind.coarse, self.kind.fine, count)
        ratios = [self.kind.scale.ratio(v) / self.kind.sr_factor for v in levels.tolist()]
        return self._judged(fine, ratios, methods, "nearest", ("psnr", "ms_ssim"))

    def _as_published(self, fine: Array, methods: Mapping[str, Method]) -> ZoomCurve:
        s = self.kind.sr_factor
        return self._judged(fine, [k / s for k in range(1, s + 1)], methods, "published", PUBLISHED_METRICS)

    def _judged(
        self, fine: Array, ratios: Sequence[float], methods: Mapping[str, Method], kernel: str, metrics: Sequence[str]
    ) -> ZoomCurve:
        return zoom_curve(
            fine, ratios, self.kind.sr_factor, methods, data_range=self._range, kernel=kernel, metrics=metrics
        )

    def _lattices(self, methods: Mapping[str, Method]) -> dict[str, Any]:
        """Columns of the enhanced coarse picture against those of the same scan without noise."""
        scan = data.middle(self.recorded.test_coarse, self.size.lattice_px)
        clean = data.middle(self.recorded.test_clean, self.size.lattice_px)
        try:
            truth = measure_lattice(clean)
        except FinescanError as e:
            return {"why_not": str(e)}
        out: dict[str, Any] = {"recorded": _judged_lattice(scan, truth, None)}
        grid = scan.grid.refine(self.kind.sr_factor)
        for name, method in methods.items():
            self._tell(0, 1, f"{self.kind.name}: lattice of {name}")
            enhanced = Image(method(scan.array().astype(np.float32)), grid, name)
            out[name] = _judged_lattice(enhanced, truth, scan)
        return out

    def _pictures(self, methods: Mapping[str, Method]) -> dict[str, Array]:
        """The middle of the coarse picture, enhanced; and without noise."""
        scan, clean = (data.middle(i, PICTURED_PX) for i in (self.recorded.test_coarse, self.recorded.test_clean))
        coarse = scan.array().astype(np.float32)
        shown = {n: self._kept(n, lambda m=m: m(coarse)) for n, m in methods.items()}  # type: ignore[misc]
        same = clean.array().astype(np.float64)
        scaled = (same - same.mean()) * (coarse.std() / same.std()) + coarse.mean()
        return {"coarse": coarse, **shown, "truth": scaled.astype(np.float32)}

    def _kept(self, name: str, make: Callable[[], Array]) -> Array:
        return np.asarray(self.store.picture(f"{self.kind.name}-picture-{name}", make))


def _as_method(model: Model, probe: bool) -> Method:
    """A model as a function of pictures.

    Heights that a scanning probe records have no zero: pictures are moved to the mean of those learned from, and back.
    """

    def method(picture: Array) -> Array:
        picture = np.asarray(picture, np.float32)
        moved = np.float32(model.card.lr_grey.mean - picture.mean()) if probe else np.float32(0)
        return model.predict(picture + moved) - moved

    return method


def _judged_lattice(image: Image, truth: Any, scan: Image | None) -> dict[str, Any]:
    """Plain numbers; where a picture shows no lattice, why."""
    try:
        found = measure_lattice(image)
        out: dict[str, Any] = {"columns": compare_lattices(found, truth).summary(), "lattice": found.summary()}
        out["scan"] = measure_scan(image, found).summary()
    except FinescanError as e:
        out = {"why_not": str(e)}
    if scan is not None:
        try:
            out["periods"] = find_inventions(image, scan).summary()
        except FinescanError as e:
            out["periods_why_not"] = str(e)
    return out


def study_lattice(
    folder: str | Path,
    *,
    size: str = "medium",
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LatticeResults:
    """Run the lattice study and write its page, figures and tables; a stopped study goes on where it was.

    Parameters
    ----------
    folder : ``report.html``, ``figures/`` (SVG, CSV, Markdown), ``results/`` (JSON), ``models/``.
    size, seed, device : see :class:`LatticeStudy`.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    from finescan.studies.lattice_page import build

    results = run_lattice(Path(folder), LatticeStudy(size, seed, device), overwrite=overwrite, progress=progress)
    write_page(Path(folder), build(results))
    return results
