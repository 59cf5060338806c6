"""The steel study: Reclik et al. 2025 from recording to tables, on simulated dual-phase and case-hardening steel.

T. Reclik et al., "Resolution enhancement of scanning electron micrographs using artificial intelligence", Materials &
Design 2025, doi:10.1016/j.matdes.2025.113955: texture transformer against interpolation on small pairs (Table 2), on a
large micrograph (Table 3), with short dwell times (Table S1), and on another material before and after fine-tuning
(Table 4). Beside them our own network, trained on the same patches in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finescan.patches import PatchSet, ReferenceBank, bank_from_images, recorded_patches
from finescan.simulation import LargePair
from finescan.studies import steel_data as data
from finescan.studies.learning import trained, training_facts
from finescan.studies.patch_scores import Answer, HeldPatch, Scored, by_map, by_model, gain, held_patches, score
from finescan.studies.store import Progress, SizedStudy, StudyFolder, silent, write_page
from finescan.trust import compare_looks, match_intensities, seam_strength
from finescan.values import Image, Look

if TYPE_CHECKING:
    from finescan.models import Model
    from finescan.training import TrainConfig

GREY_LEVELS = 255.0  # the scans have eight bits
THEIRS, OURS = "ttsr", "finescan"
INTERPOLATED = ("nearest", "bicubic", "lanczos")
TEXTURE_RATE, TUNING_RATE = 2e-3, 1e-3  # learning rates of short trainings on a processor
SEAM_PX = {"centre": 80, "smooth": 96}  # distance of the windows of the two ways to join them, fine pixels
PICTURED = 3  # patches per material that are shown


class SteelStudy(SizedStudy[data.Size]):
    """Sizes: "quick" (five minutes on two cores), "medium" (an afternoon), "full" (the published ones, for a GPU)."""

    NAME = "steel"
    SIZES = data.SIZES


@dataclass(frozen=True)
class SteelResults:
    """What the study found.

    Parameters
    ----------
    study : what was run.
    tables : table -> method -> scores (see :meth:`finescan.studies.patch_scores.Scored.to_dict`), with ``gain`` over
        bicubic interpolation (paired: mean and standard error).
    facts : table -> plain values: patches, beam time, likeness, seams.
    training : model -> how it was trained.
    pictures : title -> row -> pictures.
    """

    study: SteelStudy
    tables: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Mapping[str, Any]]
    training: Mapping[str, Mapping[str, Any]]
    pictures: Mapping[str, Mapping[str, Sequence[NDArray[np.float32]]]] = field(default_factory=dict)


def run_steel(
    folder: Path, study: SteelStudy, *, overwrite: bool = False, progress: Progress | None = None
) -> SteelResults:
    """Run the study, or go on with it; models and results stay in ``folder``.

    Parameters
    ----------
    folder : for models and results.
    study : what to run.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    store = StudyFolder(folder, asdict(study), overwrite=overwrite)
    run = _Run(store, study, progress or silent)
    run.small()
    run.large()
    run.short_dwell()
    run.other_material()
    names = sorted(p.name for p in (folder / "models").iterdir() if (p / "card.json").exists())
    return SteelResults(study, run.tables, run.facts, {n: training_facts(store, n) for n in names}, run.pictures)


class _Run:
    """The steps of the study; each adds a table."""

    def __init__(self, store: StudyFolder, study: SteelStudy, tell: Progress) -> None:
        self.store, self.study, self.size, self._tell = store, study, study.numbers, tell
        self.tables: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.pictures: dict[str, dict[str, list[NDArray[np.float32]]]] = {}

    # ------------------------------------------------------------------ Table 2 and Table S1
    def small(self) -> None:
        """Small pairs of dual-phase steel."""
        patches = self._recorded(data.dual_phase_pairs(self.size, 100.0, self.study.seed))
        self._bank = self._references(data.dual_phase_references(self.size, self.study.seed), patches)
        theirs = self._learned("dual-phase-ttsr", patches, self._texture(), references=self._bank)
        plain = self._learned("dual-phase-ttsr-content", patches, self._texture(terms=False), references=self._bank)
        ours = self._learned("dual-phase-finescan", patches, self._own())
        methods = {**self._interpolated(patches), "ttsr-content": by_model(plain)}
        self._judge("small", patches, {**methods, THEIRS: by_model(theirs), OURS: by_model(ours)}, 100.0)
        self._show("Dual-phase steel (paper's Figure 6)", patches, {"TTSR": theirs, "finescan": ours}, _darkest)
        self._theirs, self._ours, self._small = theirs, ours, patches

    def short_dwell(self) -> None:
        """The same steel with a tenth of the dwell time, elsewhere in the sample."""
        patches = self._recorded(data.dual_phase_pairs(self.size, 10.0, self.study.seed + 1000))
        tuned = self._learned(
            "short-dwell-ttsr", patches, self._texture(tuning=True), start=self._theirs, references=self._bank
        )
        ours = self._learned("short-dwell-finescan", patches, self._own())
        methods = {**self._interpolated(patches), "ttsr-direct": by_model(self._theirs)}
        self._judge("short dwell", patches, {**methods, THEIRS: by_model(tuned), OURS: by_model(ours)}, 10.0)

    # ------------------------------------------------------------------ Table 3
    def large(self) -> None:
        """A large field, in windows: only middles kept as published, or fading into each other."""
        pair = data.dual_phase_large(self.size, self.study.seed)
        patches = recorded_patches([(pair.lr, pair.hr)], config=data.judged_config(self.study.seed))
        contestants = self._contestants(self._small)
        maps = {n: self._map(m, pair.lr, "exact") for n, m in contestants.items() if n in INTERPOLATED}
        maps |= {
            THEIRS: self._map(self._theirs, pair.lr, "centre"),
            "ttsr-fading": self._map(self._theirs, pair.lr, "smooth"),
            OURS: self._map(self._ours, pair.lr, "exact"),
        }
        self._judge("large", patches, {n: by_map(m, patches) for n, m in maps.items()}, 100.0, role="any")
        facts = self.facts["large"]
        joined = ((THEIRS, "centre"), ("ttsr-fading", "smooth"), (OURS, "centre"))  # ours has no windows: the control
        facts["seams"] = {n: _seams(maps[n], b) for n, b in joined}
        facts["truth_psnr"] = {n: _psnr(m, pair) for n, m in maps.items()}
        self.pictures["Part of the large micrograph (paper's Figure 7)"] = {
            n: [_middle(m, 256)] for n, m in {**maps, "recorded": pair.hr}.items()
        }

    def _map(self, model: Model, lr: Image, blending: str) -> Image:
        from finescan.enhancement import EnhanceConfig, enhance

        # the bare network: what it makes of grey levels it never saw is part of the comparison
        config = EnhanceConfig(dtype="float32", blending=blending, device=self.study.device, guard=False)
        return enhance(model, lr, config=config).image

    # ------------------------------------------------------------------ Table 4
    def other_material(self) -> None:
        """Another steel: the dual-phase network with other references, then fine-tuned."""
        from finescan.models.banks import with_references

        seed = self.study.seed
        pairs = data.case_hardening_pairs(self.size, seed)
        patches = self._recorded(pairs)
        bank = self._references(data.case_hardening_references(self.size, seed), patches)
        direct = with_references(self._theirs, bank.crops)
        tuned = self._learned(
            "case-hardening-ttsr", patches, self._texture(tuning=True), start=self._theirs, references=bank
        )
        ours = self._learned("case-hardening-finescan", patches, self._own())
        _, slope, offset = match_intensities(pairs[0][0], direct.card)
        methods = {
            **self._interpolated(patches),
            "ttsr-direct": by_model(direct),
            "ttsr-matched": _matched(direct, slope, offset),
            "finescan-direct": by_model(self._ours),
            THEIRS: by_model(tuned),
            OURS: by_model(ours),
        }
        self._judge("case-hardening", patches, methods, 32.0)
        likeness = compare_looks(_look(pairs[0][0]), Look.from_dict(dict(self._theirs.card.training["look"])))
        self.facts["case-hardening"] |= {"likeness": likeness.to_dict(), "matched": {"gain": slope, "offset": offset}}
        again = data.dual_phase_large(self.size, seed + 50).lr
        second = compare_looks(_look(again), Look.from_dict(dict(self._theirs.card.training["look"])))
        self.facts["case-hardening"]["second map of dual-phase steel"] = second.to_dict()
        shown = {"TTSR, dual-phase only": direct, "TTSR, fine-tuned": tuned, "finescan": ours}
        self._show("Case-hardening steel (paper's Figures 9 and 10)", patches, shown, _busiest)

    # ------------------------------------------------------------------ parts
    def _recorded(self, pairs: data.Pairs) -> PatchSet:
        return recorded_patches(pairs, config=data.recorded_config(self.study.seed))

    def _references(self, images: Sequence[Image], patches: PatchSet) -> ReferenceBank:
        size = patches.out_grid.pixel_size_nm
        return bank_from_images(images, pixel_size_nm=size, count=self.size.references, side=self.size.side)

    def _contestants(self, patches: PatchSet) -> dict[str, Model]:
        from finescan.training import fit_contestants

        return fit_contestants(patches)

    def _interpolated(self, patches: PatchSet) -> dict[str, Answer]:
        return {n: by_model(m) for n, m in self._contestants(patches).items() if n in INTERPOLATED}

    def _learned(self, name: str, patches: PatchSet, config: TrainConfig, **given: Any) -> Model:
        self._tell(0, 1, f"training {name}")
        return trained(
            self.store, name, patches, config, progress=lambda a, b, text: self._tell(a, b, f"{name}: {text}"), **given
        )

    def _own(self) -> TrainConfig:
        from finescan.training import TrainConfig

        architecture = "strong" if self.size.published else "fast"
        common: dict[str, Any] = {"architecture": architecture, "seed": self.study.seed, "device": self.study.device}
        return TrainConfig(**common, **self._length(self.size.own_minutes))

    def _length(self, minutes: float) -> dict[str, Any]:
        """Of a training: by time, or by steps where the study has a number of them."""
        return {"max_steps": self.size.steps} if self.size.steps else {"minutes": minutes}

    def _texture(self, *, terms: bool = True, tuning: bool = False) -> TrainConfig:
        """The texture transformer; published: all terms from the second half on."""
        from finescan.training import TrainConfig
        from finescan.training.config import TermOptions

        size, study = self.size, self.study
        published = {"critic": "wgan-gp", "adversarial": 1e-3, "perceptual": 1e-2, "texture": 1e-2}
        wanted = published if terms else {"critic": "none", "adversarial": 0.0, "perceptual": 0.0, "texture": 0.0}
        arguments = {"features": size.features, "blocks": size.blocks}
        common: dict[str, Any] = {
            "architecture": "ttsr" if size.published else "ttsr-grey",
            "arguments": arguments,
            "terms": TermOptions(**wanted),  # type: ignore[arg-type]
            "seed": study.seed,
            "device": study.device,
        }
        if size.published:
            steps = 16_000 if tuning else None  # 80 epochs of 1600 triplets in batches of 8
            return TrainConfig(recipe="published", max_steps=steps, **common)
        rate = TUNING_RATE if tuning else TEXTURE_RATE
        length = self._length(size.tuning_minutes if tuning else size.texture_minutes)
        return TrainConfig(learning_rate=rate, **common, **length)

    def _judge(
        self, table: str, patches: PatchSet, methods: Mapping[str, Answer], dwell_us: float, *, role: str = "test"
    ) -> None:
        """Scores of all methods, kept in the study's folder."""

        def made() -> dict[str, Any]:
            held = held_patches(patches, role)
            self._tell(0, 1, f"judging {table}: {len(held)} patches")
            scored = {n: score(held, m, data_range=GREY_LEVELS) for n, m in methods.items()}
            return {n: _row(s, scored["bicubic"]) for n, s in scored.items()}

        self.tables[table] = self.store.result(f"table-{table.replace(' ', '-')}", made)
        held = held_patches(patches, role)
        learned = len(held_patches(patches, "train"))
        self.facts[table] = {
            "patches": len(held),
            "training patches": learned,
            "beam minutes": data.scanning_minutes(learned, dwell_us),
            "recorded grey": float(np.mean([h.reference[h.mask].mean() for h in held])),
            "notes": list(patches.notes),
        }

    def _show(
        self, title: str, patches: PatchSet, models: Mapping[str, Model], order: Callable[[HeldPatch], float]
    ) -> None:
        held = held_patches(patches)
        whole = [h for h in held if h.mask.all()] or held  # beyond the fine scan it is mirrored
        shown = sorted(whole, key=order)[:PICTURED]
        inter = self._interpolated(patches)
        rows = {
            "coarse (nearest)": [inter["nearest"](p) for p in shown],
            "bicubic": [inter["bicubic"](p) for p in shown],
        }
        rows |= {n: [by_model(m)(p) for p in shown] for n, m in models.items()}
        self.pictures[title] = {**rows, "recorded": [p.reference for p in shown]}


def study_steel(
    folder: str | Path,
    *,
    size: str = "medium",
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SteelResults:
    """Run the steel study and write its page, figures and tables; a stopped study goes on where it was.

    Parameters
    ----------
    folder : ``report.html``, ``figures/`` (SVG, CSV, Markdown), ``results/`` (JSON), ``models/``.
    size, seed, device : see :class:`SteelStudy`.
    overwrite : replace a study with other settings.
    progress : called as ``progress(done, total, message)``.
    """
    from finescan.studies.steel_page import build

    results = run_steel(Path(folder), SteelStudy(size, seed, device), overwrite=overwrite, progress=progress)
    write_page(Path(folder), build(results))
    return results


def _row(one: Scored, bicubic: Scored) -> dict[str, Any]:
    gains = {m: gain(one, bicubic, m) for m in one.values}
    return {**one.to_dict(), "gain": {m: {"mean": g, "error": e} for m, (g, e) in gains.items()}}


def _matched(model: Model, slope: float, offset: float) -> Answer:
    """The answer in the grey levels that the model knows, and back again."""
    answer = by_model(model)

    def matched(patch: HeldPatch) -> NDArray[np.float32]:
        known = replace(patch, piece=replace(patch.piece, lr=(slope * patch.piece.lr + offset).astype(np.float32)))
        return (answer(known) - offset) / slope

    return matched


def _look(lr: Image) -> Look:
    from finescan.values.look import look_of

    return look_of(lr.array())


def _seams(image: Image, blending: str) -> dict[str, Any]:
    """Steps where windows meet, and half-way between as the yardstick: coarse pixels leave a lattice of their own."""
    period = SEAM_PX[blending]
    lines = {"borders": 0, "middles": period // 2}
    return {name: seam_strength(image, period, phase=phase).to_dict() for name, phase in lines.items()}


def _psnr(image: Image, pair: LargePair) -> float:
    """Against the noise-free truth of the whole field."""
    error = np.asarray(image.data, np.float64) - pair.truth.array()
    return float(20 * np.log10(GREY_LEVELS / np.sqrt(np.mean(error**2))))


def _middle(image: Image, side: int) -> NDArray[np.float32]:
    y, x = ((n - side) // 2 for n in image.grid.shape)
    return np.asarray(image.data[y : y + side, x : x + side], np.float32)


def _darkest(patch: HeldPatch) -> float:
    """Voids are dark."""
    return float(np.quantile(patch.reference, 0.01))


def _busiest(patch: HeldPatch) -> float:
    """Lamellae change along every line."""
    rows = patch.reference.reshape(-1, 4, patch.reference.shape[1]).mean(axis=1)
    return -float(np.abs(np.diff(rows.reshape(len(rows), -1, 4).mean(axis=2), axis=1)).mean())
