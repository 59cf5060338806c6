"""ReferenceJob: training of networks that take texture from the most similar of many references.

As T. Reclik et al. (Materials & Design, 2025, doi:10.1016/j.matdes.2025.113955): the bank is cut from the training area
of the fine scans, every patch gets the reference that looks most like it (found once, before the first step), and
flips and turns are drawn separately for the pair and for its reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finescan.errors import InputError
from finescan.models import MODELS, Model, build
from finescan.models.reference import Features, ReferenceNet
from finescan.models.ttsr import FACTOR
from finescan.patches import PatchSet, ReferenceBank, TripletSampler, cut_references
from finescan.patches.references import likenesses
from finescan.training.config import TrainConfig
from finescan.training.contestants import fit_contestants
from finescan.training.extractor import extractor_of_vgg, fresh_extractor
from finescan.training.job import Answer, State
from finescan.training.judging import StopSet, Tiling
from finescan.training.perceptual import Extract, frozen_extractor
from finescan.training.pictures import PictureTraining, make_optimiser, symmetries
from finescan.training.starting import FIXED, is_public, start_arguments

KEPT_PX = 20  # of the 32 coarse pixels of a window, the ones that are judged
MOST_WINDOWS = {"cpu": 16, "cuda": 312}  # of the stop role that are judged
CHOICES_STEP = 16  # coarse pixels between the places that references are chosen for
MOST_CHOICES = 600  # about so many places; in larger training areas they lie further apart
KEPT_BYTES = 1 << 30  # features of references that are held while a frozen extractor does not change them
_FLOATS_PER_PIXEL = 128  # of a reference: 64 + 128 / 4 + 256 / 16, and 256 / 16 of its keys
_EMBEDDED_AT_ONCE = 16
_EXTRACTOR, _SELECTOR = "net.LTE.", "selector."
_HEADS = tuple(f"net.MainNet.conv{k}{k}_head." for k in (1, 2, 3))


class NumberedSampler:
    """A TripletSampler that says which references its batches have, as a fifth array (count,)."""

    def __init__(self, triplets: TripletSampler) -> None:
        self._triplets = triplets
        self.state_dict, self.load_state_dict = triplets.state_dict, triplets.load_state_dict

    def batch(self, count: int) -> tuple[NDArray[Any], ...]:
        """Coarse, fine, weight, reference, and the number of the reference."""
        return *self._triplets.batch(count), self._triplets.last


def bank_size(config: TrainConfig, start: Model | None = None) -> tuple[int, int]:
    """How many references a training wants, and their side in fine pixels."""
    recipe = config.resolved(FACTOR, starts=start is not None).arguments
    given = recipe if start is None else {**start_arguments(start, recipe), **config.arguments}
    arguments = {**MODELS[config.architecture].arguments, **given}
    return int(arguments["references"]), int(arguments["side"])


class ReferenceJob(PictureTraining):
    """See :class:`finescan.training.job.Job`: networks with a bank of references, which look at windows.

    A network's bank is filled when it is judged: while it is trained, the sampler brings the references.
    """

    fixed: tuple[str, ...] = FIXED

    def __init__(
        self,
        patches: PatchSet,
        config: TrainConfig,
        device: torch.device,
        arguments: Mapping[str, Any] | None = None,
        start: Model | None = None,
        references: ReferenceBank | None = None,
    ) -> None:
        super().__init__(patches, config, device, arguments, start)
        self._fill_bank(references)
        state: State = {} if start is None else start.members[0].state_dict()
        self._extractor = self._first_extractor(state)
        self._selector = self._first_selector(state)
        self._likeness: dict[bytes, NDArray[np.float32]] = {}  # of patches that were asked about, with the bank
        self._first: ReferenceNet | None = None  # the network as the training starts, which compares
        self._used = np.zeros(0, np.intp)  # references of the patches
        self._keys: Tensor | None = None  # embeddings of the bank, where no training changes them
        self._features: dict[int, tuple[Tensor, Features]] = {}  # of references, where no training changes them

    def _fill_bank(self, given: ReferenceBank | None) -> None:
        """References recorded apart, or from the training area; their number and size are arguments of the network."""
        self._given = given is not None
        count, side = int(self._arguments["references"]), int(self._arguments["side"])
        build(self._name, self._patches.factor, {**self._arguments, "references": 1})  # refuses what cannot be built
        window = max(self.recipe.patch, MODELS[self._name].window)
        smallest = self._patches.factor * window
        bank = given or cut_references(self._patches, count=count, side=side, smallest=smallest, seed=self.config.seed)
        if bank.side < smallest:
            raise InputError(
                f"References are at least as large as a patch, {smallest} x {smallest} fine pixels, but these have "
                f"{bank.side} x {bank.side}. Record larger ones."
            )
        self._arguments |= {"references": len(bank.crops), "side": int(bank.crops.shape[1])}
        self.notes += bank.notes
        self._bank, grey = bank, self._patches.hr_grey
        self._crops = torch.from_numpy(((bank.crops - grey.mean) / grey.std).astype(np.float32)).to(self.device)

    def _network_arguments(self, start: Model | None) -> Mapping[str, Any]:
        """With weights of VGG19 at hand, references are chosen by it, as published."""
        arguments = super()._network_arguments(start)
        chooses = self.config.terms.vgg and (start is None or is_public(start))
        return {"selector": 1, **arguments} if chooses else arguments

    def _first_extractor(self, start: State) -> State:
        if start:
            return _below(start, _EXTRACTOR)
        if self._vgg is not None:
            return extractor_of_vgg(self._vgg.state_dict())
        trained = " and was not trained" if self.recipe.freeze_extractor else ""
        self.notes.append(
            f"No weights of VGG19 were given: the texture extractor started from random weights{trained}."
        )
        return fresh_extractor(self.config.seed)

    def _first_selector(self, start: State) -> State:
        if not self._arguments["selector"]:
            return {}
        if selector := _below(start, _SELECTOR):
            return selector
        if self._vgg is None:
            raise InputError(
                "References can only be chosen by VGG19 (selector = 1) with its weights. Pass them with --vgg "
                "(terms.vgg), or leave the choice to the network's own texture extractor (selector = 0)."
            )
        return {k: v.cpu() for k, v in self._vgg.state_dict().items()}

    def fingerprint(self) -> str:
        """Of settings, data, start and references."""
        bank = hashlib.sha256(np.ascontiguousarray(self._bank.crops).tobytes()).hexdigest()
        return hashlib.sha256((super().fingerprint() + bank).encode()).hexdigest()

    # ------------------------------------------------------------------ networks
    def network(self, state: State | None = None) -> ReferenceNet:
        """Fresh weights behind the first extractor, or the given ones; with an empty bank."""
        network = build(self._name, self._patches.factor, self._arguments)
        assert isinstance(network, ReferenceNet)
        given = state or {_EXTRACTOR + k: v for k, v in self._extractor.items()}
        network.load_state_dict({**{_SELECTOR + k: v for k, v in self._selector.items()}, **given}, strict=False)
        network.net.LTE.requires_grad_(not self.recipe.freeze_extractor)
        network.net.LTE.sub_mean.requires_grad_(False)
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _filled(self, network: ReferenceNet) -> ReferenceNet:
        """With the bank, and its embeddings by the network's own weights."""
        if bool(network.keys.any()):
            return network
        if self._keys is None:
            network.set_references(self._crops)
            if self.recipe.freeze_extractor or self._arguments["selector"]:
                self._keys = network.keys.clone()
        else:
            network.set_references(self._crops, keys=self._keys)
        return network

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Of the recipe; the texture extractor, and the layers that texture enters by, learn more slowly."""
        descent = self.recipe.descent
        parts = (1.0, descent.texture_share, descent.extractor_share)
        weights: list[list[nn.Parameter]] = [[], [], []]
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                weights[2 if name.startswith(_EXTRACTOR) else int(name.startswith(_HEADS))].append(weight)
        groups = [{"params": w, "share": share} for w, share in zip(weights, parts, strict=True) if w]
        return make_optimiser(groups, self.recipe)

    # ------------------------------------------------------------------ patches and their references
    def sampler(self, seed: int) -> NumberedSampler:
        """Patches of the training role, each with its reference."""
        augment = symmetries(self._patches, self.config.augment)
        sampler = TripletSampler(
            self._patches,
            self._bank,
            size=self.recipe.patch,
            crop=self.recipe.crop,
            augment=augment,
            augment_references="none" if self._keeps else augment,
            choose=self._choose,
            seed=seed,
            step=self._choices_step(),
        )
        self._used = sampler.chosen
        self.notes += [n for n in sampler.notes if n not in self.notes]
        return NumberedSampler(sampler)

    def _choices_step(self) -> int:
        pixels = sum(int((p.role == 1).sum()) for p in self._patches.pieces)
        return max(CHOICES_STEP, round((pixels / MOST_CHOICES) ** 0.5))

    def _choose(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Likeness (n, references) of coarse patches (n, h, w) and references; each patch is looked at once.

        By the extractor (or VGG19) that the training starts with.
        """
        name = hashlib.sha256(np.ascontiguousarray(patches).tobytes()).digest()
        if name not in self._likeness:
            network, vectors = self._chooser(), []
            with torch.no_grad():
                for first in range(0, len(patches), _EMBEDDED_AT_ONCE):
                    x = self._coarse(patches[first : first + _EMBEDDED_AT_ONCE])
                    vectors.append(network.embed(network.enlarge(x)).float().cpu().numpy())
            self._likeness[name] = likenesses(np.concatenate(vectors), network.keys.cpu().numpy())
        return self._likeness[name]

    def _chooser(self) -> ReferenceNet:
        if self._first is None:
            with torch.random.fork_rng(devices=[]):
                self._first = self._filled(self.network().eval())
        return self._first

    # ------------------------------------------------------------------ losses
    def answer(self, network: nn.Module, batch: Any, bfloat16: bool) -> Answer:
        """In units of the fine scan's standard deviation, with the texture that was transferred."""
        assert isinstance(network, ReferenceNet)
        x, target, weight = self._normalised(batch[:3])
        grey = self._patches.hr_grey
        reference = (torch.from_numpy(batch[3])[:, None].to(self.device) - grey.mean) / grey.std
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            keys, sources = self._extracted(network, reference, batch[4])
            done = network.with_features(x, keys, sources)
        return Answer(done.sr, target, weight, done.textures)

    def _extracted(
        self, network: ReferenceNet, references: Tensor, numbers: NDArray[np.intp]
    ) -> tuple[Tensor, Features]:
        """Features of references; looked up where no training changes them."""
        if not self._keeps:
            return network.extracted(references)
        parts = [self._kept(network, int(k)) for k in numbers]
        keys, one, two, three = (torch.cat(p) for p in zip(*((k, *s) for k, s in parts), strict=True))
        return keys, (one, two, three)

    def _kept(self, network: ReferenceNet, number: int) -> tuple[Tensor, Features]:
        if number not in self._features:
            with torch.no_grad():
                self._features[number] = network.extracted(self._crops[number][None, None])
        return self._features[number]

    @property
    def _keeps(self) -> bool:
        """Whether features of references can be held: they never change, and there is room for all."""
        size = 4 * _FLOATS_PER_PIXEL * self._crops.numel()
        return self.recipe.freeze_extractor and size <= KEPT_BYTES

    def _extract(self, network: nn.Module) -> Extract | None:
        assert isinstance(network, ReferenceNet)
        return frozen_extractor(network.net.LTE, network.texture)

    # ------------------------------------------------------------------ judging
    def _judge_contestants(self) -> dict[str, float]:
        most = MOST_WINDOWS.get(self.device.type, MOST_WINDOWS["cuda"])
        tiling = Tiling(MODELS[self._name].window, KEPT_PX, most)
        self._stop = StopSet(self._patches, 0, self.device, tiling=tiling)
        models = fit_contestants(self._patches)
        return {name: self._stop.psnr([m.to(self.device) for m in model.members]) for name, model in models.items()}

    def psnr(self, networks: Sequence[nn.Module]) -> float:
        """On the stop set, with the references that the networks choose."""
        return self._stop.psnr([self._filled(n) if isinstance(n, ReferenceNet) else n for n in networks])

    def _further_facts(self) -> dict[str, Any]:
        facts = super()._further_facts()
        used = len(np.unique(self._used))
        by = "VGG19" if self._arguments["selector"] else "the network's own texture extractor"
        bank = {"count": len(self._bank), "side_px": self._bank.side, "used": used, "chosen_by": by}
        if not self._given:  # a bank that was given numbers its own pictures, not the pieces
            names = [self._patches.pieces[int(k)].name for k in self._bank.piece]
            bank["cut_from"] = {name: names.count(name) for name in dict.fromkeys(names)}
        return {**facts, "references": bank}


def _below(state: Mapping[str, Tensor], prefix: str) -> State:
    """Entries of a state whose names begin in one way, without that."""
    return {k.removeprefix(prefix): v.detach().cpu().clone() for k, v in state.items() if k.startswith(prefix)}
