"""Start: the weights of a trained model, for the training that goes on from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finescan.errors import ModelError
from finescan.models import Model, complete_arguments
from finescan.models.store import weights_hash
from finescan.training.job import State

BANK = ("references", "side")  # arguments that say how large the bank is, not what the weights are
#: arguments that public weights do not bind: whose grey levels they read, and which references they get
FREE = (*BANK, "span", "selector")
FIXED: tuple[str, ...] = ("bank", "keys", "selector.")  # how the names begin of what no training changes


class Start:
    """A model to start from.

    Parameters
    ----------
    model : the model.
    name, factor, arguments : of the network that is to be trained.

    Raises
    ------
    ModelError : the model is of another architecture, factor or size; the message says what differs.
    """

    def __init__(self, model: Model, name: str, factor: int, arguments: Mapping[str, Any]) -> None:
        self._model = model
        self.digest = weights_hash(model)
        free = FREE if is_public(model) else BANK
        card = model.card
        theirs = _description(
            card.architecture, card.factor, complete_arguments(card.architecture, card.arguments), free
        )
        ours = _description(name, factor, arguments, free)
        different = [
            f"{key} {theirs.get(key, 'none')} instead of {ours.get(key, 'none')}"
            for key in [*ours, *(k for k in theirs if k not in ours)]
            if theirs.get(key) != ours.get(key)
        ]
        if different:
            raise ModelError(
                f"Training can only go on from a model of the same network, but this one has {', '.join(different)}. "
                "Start from a model of this network and ratio, or from none."
            )

    def member(self, index: int) -> State:
        """Weights for a member; with fewer members in the model they are used again."""
        members = self._model.members
        state = members[index % len(members)].state_dict()
        return {k: v.detach().cpu().clone() for k, v in state.items() if not k.startswith(("bank", "keys"))}

    def facts(self) -> dict[str, Any]:
        """For the card: which model, and what it was trained on for how long."""
        card, training = self._model.card, self._model.card.training
        return {
            "weights_sha256": self.digest,
            "public": training.get("imported"),
            "data": card.provenance.get("data"),
            "names": [piece["name"] for piece in training.get("extent", [])],
            "steps": training.get("steps"),
            "seconds": training.get("seconds"),
            "hr_grey": card.hr_grey.to_dict(),
        }


def is_public(model: Model) -> bool:
    """Whether a model holds public weights as they were published, and was not trained here."""
    return "imported" in model.card.training


def start_arguments(model: Model, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a network that starts from a model: the model's, and what it leaves free as the recipe says."""
    if not is_public(model):
        return dict(model.card.arguments)
    own = {k: v for k, v in model.card.arguments.items() if k not in FREE}
    return {**own, **{k: v for k, v in recipe.items() if k in FREE}}


def _description(name: str, factor: int, arguments: Mapping[str, Any], free: tuple[str, ...]) -> dict[str, Any]:
    own = {k: v for k, v in arguments.items() if k not in free}
    return {"architecture": name, "factor": factor, **own}
