"""Terms: what is made small beside the content loss, in the second part of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finescan.training.adversarial import Rival
from finescan.training.job import Answer
from finescan.training.perceptual import Extract, feature_loss, texture_loss


@dataclass(frozen=True)
class Terms:
    """Weights of the terms beside the content loss (weight 1), for pictures in [-1, 1].

    Parameters
    ----------
    critic : row of the ADVERSARIES table, or "none".
    adversarial, perceptual, texture : weights; a term of weight 0 is not computed.
    critic_steps : of the critic per step of the network; 0 = the table's.
    content_share : share of the steps, from the first, with the content loss alone.
    """

    critic: str = "none"
    adversarial: float = 0.0
    perceptual: float = 0.0
    texture: float = 0.0
    critic_steps: int = 0
    content_share: float = 0.5

    @property
    def any(self) -> bool:
        """Whether there is anything beside the content loss."""
        return self.critic != "none" or self.perceptual > 0 or self.texture > 0


@dataclass(frozen=True)
class Scale:
    """The grey levels that pictures in [-1, 1] reach to, in the normalised units of training."""

    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the range: what an error of 1 in [-1, 1] is in normalised units."""
        return (self.high - self.low) / 2

    def unit(self, picture: Tensor) -> Tensor:
        """Normalised grey levels with the range as [0, 1]; nothing is clipped."""
        return (picture - self.low) / (self.high - self.low)

    def symmetric(self, picture: Tensor) -> Tensor:
        """Normalised grey levels with the range as [-1, 1]; nothing is clipped."""
        return 2 * self.unit(picture) - 1


class Further:
    """The terms of one network while it is trained.

    Parameters
    ----------
    terms : their weights.
    scale : of the pictures.
    content_scale : the content loss of pictures that differ by 1 in [-1, 1], so that the weights mean what they do for
        a content loss of such pictures.
    textures : the network's own texture extractor (frozen), of normalised pictures; None where it has none.
    vgg : features of relu5_1 of pictures in [0, 1]; None = the third level of ``textures`` instead.
    rival : the critic, None without.
    bfloat16 : compute features in that format. The critic is always float32.
    """

    def __init__(
        self,
        terms: Terms,
        scale: Scale,
        *,
        content_scale: float,
        textures: Extract | None = None,
        vgg: Callable[[Tensor], Tensor] | None = None,
        rival: Rival | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.terms, self.rival = terms, rival
        self._scale, self._content_scale = scale, content_scale
        self._textures, self._vgg, self._bfloat16 = textures, vgg, bfloat16

    def learn(self, answer: Answer) -> None:
        """Train the critic, if there is one, on what the network says now."""
        if self.rival is not None:
            self.rival.learn(self._scale.symmetric(answer.real), self._scale.symmetric(answer.sr))

    def loss(self, answer: Answer) -> Tensor:
        """The weighted sum of the terms, to be added to the content loss."""
        total = answer.sr.new_zeros(())
        with torch.autocast(answer.sr.device.type, torch.bfloat16, enabled=self._bfloat16):
            total = total + self._feature_terms(answer)
        if self.rival is not None:
            total = total + self.terms.adversarial * self.rival.verdict(self._scale.symmetric(answer.sr))
        return self._content_scale * total

    def _feature_terms(self, answer: Answer) -> Tensor:
        t, total = self.terms, answer.sr.new_zeros(())
        mine = self._textures(answer.sr) if self._textures and (t.texture or (t.perceptual and not self._vgg)) else None
        if t.texture and mine is not None:
            total = total + t.texture * texture_loss(mine, answer.textures)
        if t.perceptual and self._vgg:
            of_answer, of_real = (self._vgg(self._scale.unit(p)) for p in (answer.sr, answer.real))
            total = total + t.perceptual * feature_loss(of_answer, of_real)
        elif t.perceptual and mine is not None and self._textures:
            with torch.no_grad():
                target = self._textures(answer.real)[2]
            total = total + t.perceptual * feature_loss(mine[2], target)
        return total

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, beside the network."""
        return {} if self.rival is None else self.rival.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        if self.rival is not None:
            self.rival.load_state_dict(state)
