"""The sandstone study: DLE-EM from registration to pore sizes, on a simulated sandstone whose pores are known.

H. van Melick and O. Plümper, "Deep-Learning-Enhanced Electron Microscopy (DLE-EM)": several fine regions in one coarse
map, found and registered; a generator trained with mean squared (MSE) or absolute (MAE) error against a critic; judged
by random tiles (Fig. 2), by the pore sizes of a binary segmentation (Fig. 3), by the distribution of SSIM (Fig. 4), and
by how much faster it is than a fine scan of everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.patches import PatchSet, SplitConfig, make_patches
from finescan.quantification import SizeComparison, calmed, choose_objects, compare, measure_alike, size_classes
from finescan.registration import register_all, require_found
from finescan.simulation import Simulated, simulate
from finescan.studies.learning import trained, training_facts
from finescan.studies.store import Progress, SizedStudy, StudyFolder, silent, write_page
from finescan.trust import Acceleration, TileScores, measure_acceleration, tile_scores
from finescan.values import Grid, Image, Pair

if TYPE_CHECKING:
    from finescan.models import Model
    from finescan.training import TrainConfig

GREY_LEVELS = 255.0
RATIO = 4
TILE_PX = 64
SHOWN_PX, SHOWN = 160, 3  # tiles that are pictured
METHODS = ("bicubic", "mse", "mae", "finescan")


@dataclass(frozen=True)
class Size:
    """How much is recorded and how long networks learn.

    Parameters
    ----------
    coarse : pixels along the edges of the coarse map.
    fine, scans : pixels along the edges of a fine scan, and how many there are.
    features, blocks : of the generator.
    minutes, own_minutes : training of each generator, and of our own network.
    published : train by the published recipe instead of by time.
    steps : of every training instead of its time, if not 0: the same bits in every run.
    """

    coarse: int
    fine: int
    scans: int
    features: int
    blocks: int
    minutes: float
    own_minutes: float
    published: bool = False
    steps: int = 0

    def length(self, minutes: float) -> dict[str, Any]:
        """Of a training: by time, or by steps where there is a number of them."""
        return {"max_steps": self.steps} if self.steps else {"minutes": minutes}


SIZES: dict[str, Size] = {
    "quick": Size(288, 352, 2, 24, 4, 1.4, 0.25),
    "medium": Size(640, 640, 3, 32, 8, 6.0, 0.75),
    "full": Size(2048, 1536, 4, 64, 16, 1e5, 3.0, published=True),
}


class SandstoneStudy(SizedStudy[Size]):
    """Sizes: "quick" (five minutes on two cores), "medium" (an afternoon), "full" (the published recipe, for a GPU)."""

    NAME = "sandstone"
    SIZES = SIZES


@dataclass(frozen=True)
class SandstoneResults:
    """What the study found.

    Parameters
    ----------
    study : what was run.
    tiles : where -> scores of tiles: "held-out fine scan" against the recorded one, "rest of the map" against truth.
    pores : where -> sizes of pores, in the same two places.
    objects : how pores were told from the rest, in a sentence.
    acceleration : of coarse map and fine scans against a fine scan of everything.
    registration : per fine scan: verdict, split error and true error, fine pixels.
    training : model -> how it was trained.
    pictures : row -> pictures of random tiles outside the fine scans.
    pixel_size_nm : of the pictures.
    """

    study: SandstoneStudy
    tiles: Mapping[str, TileScores]
    pores: Mapping[str, SizeComparison]
    objects: str
    acceleration: Acceleration
    registration: Sequence[Mapping[str, Any]]
    training: Mapping[str, Mapping[str, Any]]
    pictures: Mapping[str, Sequence[NDArray[np.float32]]] = field(default_factory=dict)
    pixel_size_nm: tuple[float, ...] = ()


def run_sandstone(
    folder: Path, study: SandstoneStudy, *, overwrite: bool = False, progress: Progress | None = None
) -> SandstoneResults:
    """Run the study, or go on with it; models and maps stay in ``folder``.

    Parameters
    ----------
    folder : for models and maps.
    study : what to run.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    store = StudyFolder(folder, asdict(study), overwrite=overwrite)
    tell = progress or silent
    size = study.numbers
    job = simulate(
        "sandstone", size=size.coarse, ratio=RATIO, fine=size.fine, fine_scans=size.scans, dtype="uint8",
        seed=study.seed,
    )  # fmt: skip
    tell(0, 1, "registering the fine scans")
    pairs = register_all(job.lr, job.hr)
    for pair in pairs:
        require_found(pair)
    patches = make_patches(pairs, config=SplitConfig(kind="blocks", seed=study.seed))
    models = _models(store, study, patches, tell)
    maps = {n: _map(store, study, m, job, n, tell) for n, m in models.items()}
    tell(0, 1, "judging")
    rest = _rest(job, pairs)
    held = _held(patches, maps)
    truth = np.asarray(job.truth.array(), np.float32)
    everywhere = {n: np.asarray(m.data, np.float32) for n, m in maps.items()}
    objects = choose_objects(calmed(held["recorded"], np.isfinite(held["recorded"])), "dark")
    pores = {
        "held-out fine scan": _pores(
            held, maps["bicubic"].grid, objects, np.isfinite(held["recorded"]), job.lr, "recorded", "held-out fine scan"
        ),
        "rest of the map": _pores(
            {**everywhere, "truth": truth}, job.truth.grid, objects, rest, job.lr, "truth", "rest of the map"
        ),
    }
    results = {n: held[n] for n in METHODS}
    tiles = {
        "held-out fine scan": tile_scores(results, held["recorded"], data_range=GREY_LEVELS, tile=TILE_PX // 2),
        "rest of the map": tile_scores(everywhere, truth, data_range=GREY_LEVELS, mask=rest, tile=TILE_PX),
    }
    names = [n for n in ("mse", "mae", "finescan") if store.has_result(f"{n}-training")]
    return SandstoneResults(
        study, tiles, pores, objects.reason, measure_acceleration(job.lr, job.hr),
        [_accuracy(p, w) for p, w in zip(pairs, job.lr_from_hr, strict=True)],
        {n: training_facts(store, n) for n in names},
        _pictures({**everywhere, "truth": truth}, rest, study.seed), job.truth.grid.pixel_size_nm,
    )  # fmt: skip


def study_sandstone(
    folder: str | Path,
    *,
    size: str = "medium",
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SandstoneResults:
    """Run the sandstone study and write its page, figures and tables; a stopped study goes on where it was.

    Parameters
    ----------
    folder : ``report.html``, ``figures/`` (SVG, CSV, Markdown), ``results/`` (JSON), ``volumes/`` (maps), ``models/``.
    size, seed, device : see :class:`SandstoneStudy`.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    from finescan.studies.sandstone_page import build

    results = run_sandstone(Path(folder), SandstoneStudy(size, seed, device), overwrite=overwrite, progress=progress)
    write_page(Path(folder), build(results))
    return results


# ------------------------------------------------------------------ learning
def _models(store: StudyFolder, study: SandstoneStudy, patches: PatchSet, tell: Progress) -> dict[str, Model]:
    from finescan.training import TrainConfig, fit_contestants

    def learned(name: str, config: TrainConfig) -> Model:
        return trained(store, name, patches, config, progress=lambda a, b, text: tell(a, b, f"{name}: {text}"))

    size = study.numbers
    common: dict[str, Any] = {"seed": study.seed, "device": study.device}
    ours = TrainConfig(architecture="strong" if size.published else "fast", **size.length(size.own_minutes), **common)
    return {
        "bicubic": fit_contestants(patches)["bicubic"],
        "mse": learned("mse", _generator(size, "l2", common)),
        "mae": learned("mae", _generator(size, "l1", common)),
        "finescan": learned("finescan", ours),
    }


def _generator(size: Size, loss: str, common: Mapping[str, Any]) -> TrainConfig:
    """SRResNet against the critic of patches: content loss + 1e-3 adversarial."""
    from finescan.training import TrainConfig
    from finescan.training.config import TermOptions

    terms = TermOptions(critic="patch", adversarial=1e-3)
    if size.published:
        return TrainConfig(architecture="srresnet", recipe="published", loss=loss, terms=terms, **common)
    arguments: dict[str, int | float] = {"features": size.features, "blocks": size.blocks}
    return TrainConfig(
        architecture="srresnet", arguments=arguments, loss=loss, terms=terms, **size.length(size.minutes), **common
    )


def _map(store: StudyFolder, study: SandstoneStudy, model: Model, job: Simulated, name: str, tell: Progress) -> Image:
    from finescan.enhancement import EnhanceConfig, enhance

    # the bare network: what it makes of grey levels it never saw is part of the comparison
    config = EnhanceConfig(dtype="float32", device=study.device, guard=False)

    def made() -> NDArray[np.float32]:
        tell(0, 1, f"enhancing with {name}")
        return np.asarray(enhance(model, job.lr, config=config).image.data)

    return store.volume(f"map-{name}", job.truth.grid, made)


# ------------------------------------------------------------------ where to judge
def _rest(job: Simulated, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Pixels of the map that lie outside all fine scans, the reach of a network away."""
    from scipy import ndimage

    grid = job.truth.grid
    inside = np.zeros(grid.shape, bool)
    for pair in pairs:
        h, w = pair.hr.grid.shape
        y, x = np.meshgrid(np.arange(0, h, 2), np.arange(0, w, 2), indexing="ij")
        index = np.rint(grid.to_index(pair.lr_from_hr(pair.hr.grid.to_nm(np.stack([y, x], -1))))).astype(int)
        good = ((index >= 0) & (index < grid.shape)).all(axis=-1)
        inside[tuple(index[good].T)] = True
    return ~ndimage.binary_dilation(inside, np.ones((3, 3), bool), iterations=12 * RATIO)


def _held(patches: PatchSet, maps: Mapping[str, Image]) -> dict[str, NDArray[np.float32]]:
    """Recorded fine scan of the test blocks on the grid of the map, and the maps there; NaN elsewhere."""
    grid = next(iter(maps.values())).grid
    recorded = np.full(grid.shape, np.nan, np.float32)
    for piece in patches.pieces:
        first = np.rint(grid.to_index(piece.out_grid.origin_nm)).astype(int)
        test = piece.role_fine("test")
        rows, columns = np.nonzero(test)
        recorded[rows + first[0], columns + first[1]] = piece.hr[test]
    there = np.isfinite(recorded)
    return {n: np.where(there, m.data, np.nan).astype(np.float32) for n, m in maps.items()} | {"recorded": recorded}


def _pores(
    pictures: Mapping[str, NDArray[np.float32]], grid: Grid, objects: Any, counted: NDArray[np.bool_], lr: Image,
    reference: str, area: str,
) -> SizeComparison:  # fmt: skip
    soft = {n: calmed(v, counted) for n, v in pictures.items()}
    measured = measure_alike(soft, grid, objects=objects, field=counted)
    edges = size_classes(max(lr.grid.pixel_size_nm))
    return compare(measured, area=area, edges_nm=edges, counted=counted, reference=reference)


def _accuracy(pair: Pair, true: Any) -> dict[str, Any]:
    """Registration against the true warp, on a grid of places."""
    h, w = pair.hr.grid.shape
    places = np.stack(np.meshgrid(np.linspace(0, h - 1, 33), np.linspace(0, w - 1, 33), indexing="ij"), -1)
    nm = pair.hr.grid.to_nm(places)
    error = np.linalg.norm(pair.lr_from_hr(nm) - true(nm), axis=-1) / min(pair.hr.grid.pixel_size_nm)
    return {
        "name": pair.hr.name,
        "verdict": pair.verdict.value,
        "split_error_hr_px": pair.residual.split_error_hr_px,
        "true_error_hr_px": float(np.median(error)),
    }


def _pictures(
    pictures: Mapping[str, NDArray[np.float32]], rest: NDArray[np.bool_], seed: int
) -> dict[str, list[NDArray[np.float32]]]:
    """Random tiles outside the fine scans, as in Fig. 2."""
    rng, s = np.random.default_rng([seed, 71]), SHOWN_PX
    corners = [tuple(int(rng.integers(0, n - s + 1)) for n in rest.shape) for _ in range(4000)]
    free = [c for c in corners if rest[c[0] : c[0] + s, c[1] : c[1] + s].all()][:SHOWN]
    return {n: [np.asarray(v[y : y + s, x : x + s], np.float32) for y, x in free] for n, v in pictures.items()}
