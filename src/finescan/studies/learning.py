"""Networks of a study: trained once and kept in its folder, so that a stopped study goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finescan.models import Model
    from finescan.patches import PatchSet, ReferenceBank
    from finescan.studies.store import StudyFolder
    from finescan.training import TrainConfig


def trained(
    store: StudyFolder,
    name: str,
    patches: PatchSet,
    config: TrainConfig,
    *,
    start: Model | None = None,
    references: ReferenceBank | None = None,
    progress: Any = None,
) -> Model:
    """The model of a name, trained and stored first when it is not there."""
    from finescan.models import load_model, save_model
    from finescan.training import train

    folder = store.path / "models" / name
    if not (folder / "card.json").exists():
        began = time.process_time()
        model = train(
            patches, config, start=start, references=references, folder=folder / "checkpoint", progress=progress
        )
        seconds = time.process_time() - began
        store.result(f"{name}-training", lambda: _facts(model, seconds))
        save_model(model, folder)
        _drop(folder / "checkpoint")
    return load_model(folder)


def training_facts(store: StudyFolder, name: str) -> dict[str, Any]:
    """What was noted when the model of a name was trained."""
    return store.result(f"{name}-training", dict)


def _facts(model: Model, seconds: float) -> dict[str, Any]:
    training = model.card.training
    kept = ("seconds", "steps", "device", "history", "stop_psnr", "notes", "config", "terms", "references")
    return {"cpu_seconds": seconds, "weights": model.weights, **{k: training.get(k) for k in kept}}


def _drop(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
