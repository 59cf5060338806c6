"""Public weights of others' networks: read them safely, check every name and shape, get a working network.

The names are those of the public programs, so a downloaded file loads as it is. Numbers agree with the published
networks up to the order of summation.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import os
import pickle
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from finescan.errors import ModelError, OutputError
from finescan.models.srresnet import PUBLISHED_EPS, PatchDiscriminator, SrResNet
from finescan.models.swinir import SwinIr, image_masks, relative_positions
from finescan.models.texture import TextureExtractor
from finescan.models.ttsr import Ttsr, TtsrDiscriminator
from finescan.models.vgg import Vgg19

Shape = tuple[int, ...]
State = Mapping[str, Any]

_SWINIR_MASKED_SIZE = 64  # the public networks were built for, and hold the masks of, images of 64 x 64 pixels
_CHUNK = 2**20
_LARGEST_FILE = 2**32  # no published network is larger
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Names:
    """Which public names a state dict must or may have.

    Parameters
    ----------
    own : public name -> name in our network, of everything that is loaded.
    unused : public name -> shape, of what must be there but is computed here (tables that no training changes).
    spare : public name -> shape, of what may be there and is not needed.
    """

    own: Mapping[str, str]
    unused: Mapping[str, Shape] = field(default_factory=dict)
    spare: Mapping[str, Shape] = field(default_factory=dict)


def _as_they_are(network: nn.Module, state: State) -> Names:
    return Names({key: key for key in network.state_dict()})


@dataclass(frozen=True)
class Foreign:
    """One row of the table.

    Parameters
    ----------
    build : ``build(**options)`` -> our network with fresh weights.
    options : option -> values it may have, the default first.
    read : ``read(state)`` -> options the weights themselves tell, instead of the default.
    names : ``names(network, state)`` -> the names expected, in the form the state dict is in.
    sentence : what it is.
    """

    build: Callable[..., nn.Module]
    sentence: str
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    read: Callable[[State], dict[str, Any]] = lambda _: {}
    names: Callable[[nn.Module, State], Names] = _as_they_are


def _shape(value: object) -> Shape:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _ttsr_names(network: nn.Module, state: State) -> Names:
    """Networks saved whole repeat the extractor as LTE_copy."""
    shapes = {key: _shape(value) for key, value in network.state_dict().items()}
    copies = {f"LTE_copy{key[3:]}": shape for key, shape in shapes.items() if key.startswith("LTE.")}
    return Names({key: key for key in shapes}, spare=copies)


def _vgg_names(network: nn.Module, state: State) -> Names:
    """Torchvision's names (without the normalisation, with a classifier that is not needed), or those of TTSR."""
    own = list(network.state_dict())
    if not any(str(key).startswith("features.") for key in state):
        return Names({key: key for key in own})
    spare: dict[str, Shape] = {}
    for place in (30, 32, 34):
        spare |= {f"features.{place}.weight": (512, 512, 3, 3), f"features.{place}.bias": (512,)}
    for place, shape in ((0, (4096, 512 * 7 * 7)), (3, (4096, 4096)), (6, (1000, 4096))):
        spare |= {f"classifier.{place}.weight": shape, f"classifier.{place}.bias": shape[:1]}
    return Names({f"features.{k.removeprefix('slice1.')}": k for k in own if k.startswith("slice1.")}, spare=spare)


def _swinir_names(network: nn.Module, state: State) -> Names:
    """The public state dicts hold tables that follow from the size of the windows."""
    own = list(network.state_dict())
    blocks = sorted({key.partition(".norm1.")[0] for key in own if ".norm1." in key})
    positions, masks = _shape(relative_positions()), _shape(image_masks(_SWINIR_MASKED_SIZE, _SWINIR_MASKED_SIZE))
    unused = {f"{block}.attn.relative_position_index": positions for block in blocks}
    unused |= {f"{block}.attn_mask": masks for block in blocks if int(block.rpartition(".")[2]) % 2}
    return Names({key: key for key in own}, unused=unused)


def _swinir_options(state: State) -> dict[str, Any]:
    channels, outputs = _shape(state.get("conv_first.weight"))[1:2], _shape(state.get("upsample.0.weight"))[:1]
    if not (channels and outputs):
        return {}
    return {"channels": channels[0], "sr_factor": round((outputs[0] / max(channels[0], 1)) ** 0.5)}


def _srresnet_options(state: State) -> dict[str, Any]:
    return {"sr_factor": 2 ** sum(f"upsampling.{4 * i}.weight" in state for i in range(3))}


FOREIGN: dict[str, Foreign] = {
    "ttsr": Foreign(
        Ttsr, "TTSR, ×4 with texture of a reference: net(lr, lrsr, ref, refsr) in [-1, 1].", names=_ttsr_names
    ),
    "ttsr-lte": Foreign(TextureExtractor, "Texture extractor of TTSR: net(x), x in [0, 1]."),
    "ttsr-discriminator": Foreign(
        TtsrDiscriminator,
        "Critic of TTSR: net(x), x in [-1, 1].",
        options={"in_size": (160, *range(32, 1025, 32))},
    ),
    "vgg19": Foreign(Vgg19, "VGG19 up to relu5_1: net(x), x in [0, 1].", names=_vgg_names),
    "swinir-light": Foreign(
        SwinIr,
        "SwinIR-light, ×2 or ×4: net(x), x in [0, 1].",
        options={"sr_factor": (2, 4), "channels": (1, 3), "padding": ("reflect", "mirror")},
        read=_swinir_options,
        names=_swinir_names,
    ),
    "dle-em-generator": Foreign(
        lambda sr_factor: SrResNet(sr_factor=sr_factor, norm_eps=PUBLISHED_EPS),
        "Generator of DLE-EM (SRResNet), ×2, ×4 or ×8: net(x), grey in [-1, 1].",
        options={"sr_factor": (4, 2, 8)},
        read=_srresnet_options,
    ),
    "dle-em-discriminator": Foreign(PatchDiscriminator, "Critic of DLE-EM: net(x), grey in [-1, 1]."),
}


def load_foreign(name: str, state_dict: State, **options: Any) -> nn.Module:
    """The network of public weights, in evaluation mode, on the CPU, float32.

    Parameters
    ----------
    name : row of :data:`FOREIGN`.
    state_dict : public names -> tensors; bare, or as the entry ``params_ema`` or ``params`` of a mapping, or with
        ``module.`` before every name. Tensors are copied.
    options : ``sr_factor`` (swinir-light 2 or 4; dle-em-generator 2, 4 or 8), ``channels`` (swinir-light 1 or 3),
        ``padding`` (swinir-light, see :class:`finescan.models.swinir.SwinIr`), ``in_size`` (ttsr-discriminator,
        default 160). Where left out, ``sr_factor`` and ``channels`` are those of the weights.

    Returns
    -------
    The network; what its ``forward`` takes and gives is said there.

    Raises
    ------
    ModelError : unknown name or option; or missing, extra and misshapen entries, all of them named.

    Examples
    --------
    >>> network = load_foreign("ttsr-lte", TextureExtractor().state_dict())
    >>> [tuple(level.shape) for level in network(torch.zeros(1, 3, 8, 8))]
    [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    """
    if name not in FOREIGN:
        raise ModelError(f"Foreign weights are one of {', '.join(FOREIGN)}, but {name!r} came.")
    state = _bare(name, state_dict)
    chosen = _options(name, options, state)
    with torch.random.fork_rng(
        devices=[]
    ):  # fresh weights are overwritten, and must not change anyone's random numbers
        network = FOREIGN[name].build(**chosen)
    own = network.state_dict()
    names = FOREIGN[name].names(network, state)
    shapes = {public: _shape(own[key]) for public, key in names.own.items()} | dict(names.unused)
    wrong = _differences(shapes, names.spare, state)
    if wrong:
        said = "".join(f", {key} {value}" for key, value in chosen.items())
        raise ModelError(
            f"These are not the weights of {name}{said}. {' '.join(wrong)} "
            "Pass the file as it was published, with the options the network was trained with."
        )
    endless = [k for k in names.own if state[k].is_floating_point() and not bool(state[k].isfinite().all())]
    if endless:
        raise ModelError(f"The weights of {name} hold numbers that are not finite: {', '.join(endless)}.")
    network.load_state_dict(own | {key: state[public] for public, key in names.own.items()}, strict=True)
    return network.eval()


def _bare(name: str, state: object) -> State:
    """The names and tensors inside the usual wrappings."""
    if not isinstance(state, Mapping):
        raise ModelError(
            f"The weights of {name} must be a mapping of names to tensors, but a {type(state).__name__} came. "
            "Pass the state dict, for example from read_weights."
        )
    bare: State = state
    wrapped = [key for key in ("params_ema", "params") if isinstance(bare.get(key), Mapping)]
    if wrapped and set(bare) <= {"params_ema", "params"}:
        bare = bare[wrapped[0]]
    if bare and all(str(key).startswith("module.") for key in bare):
        return {str(key).removeprefix("module."): value for key, value in bare.items()}
    return bare


def _options(name: str, given: Mapping[str, Any], state: State) -> dict[str, Any]:
    allowed = FOREIGN[name].options
    for key, value in given.items():
        if key not in allowed:
            known = ", ".join(allowed) or "no options"
            raise ModelError(f"{name} takes {known}, but {key} came.")
        if isinstance(value, bool) or value not in allowed[key]:
            known = ", ".join(str(v) for v in allowed[key][:6])
            raise ModelError(
                f"{name}: {key} must be one of {known}{', …' * (len(allowed[key]) > 6)}, but {value!r} came."
            )
    told = {key: value for key, value in FOREIGN[name].read(state).items() if value in allowed[key]}
    return {key: values[0] for key, values in allowed.items()} | told | dict(given)


def _differences(shapes: Mapping[str, Shape], spare: Mapping[str, Shape], state: State) -> list[str]:
    """One sentence each for what is missing, too much, or of another shape."""
    known = {**shapes, **spare}
    misshapen = [_misfit(key, known[key], state[key]) for key in known if key in state]
    groups = {
        "Missing": [key for key in shapes if key not in state],
        "Extra": [str(key) for key in state if key not in known],
        "Misshapen": [text for text in misshapen if text],
    }
    return [f"{title}: {', '.join(entries)}." for title, entries in groups.items() if entries]


def _misfit(key: str, shape: Shape, value: object) -> str:
    if not isinstance(value, Tensor):
        return f"{key} (expected a tensor {list(shape)}, but a {type(value).__name__} came)"
    return "" if tuple(value.shape) == shape else f"{key} (expected {list(shape)}, but {list(value.shape)} came)"


def read_weights(path: str | Path, *, sha256: str | None = None, cache: str | Path | None = None) -> dict[str, Any]:
    """Names and tensors of a weights file, without running any code from it.

    Parameters
    ----------
    path : ``.pt`` or ``.pth`` (written by ``torch.save``), ``.safetensors``, or an http(s) address of one of these.
    sha256 : what the file must hash to, 64 hexadecimal digits. Needed for an address.
    cache : folder for what was downloaded; default ``$FINESCAN_CACHE``, else ``finescan/weights`` in the user's cache
        folder. A file that is there, and whole, is not downloaded again.

    Raises
    ------
    ModelError : no such file, damaged, of another kind, holding code, not what was expected, or not to be had.
    OutputError : the cache cannot be written.
    """
    text = str(path)
    remote = urlsplit(text).scheme in ("http", "https")
    kind = Path(urlsplit(text).path if remote else text).suffix.lower()
    if kind not in (".pt", ".pth", ".safetensors"):
        raise ModelError(f"Weights are a .pt, .pth or .safetensors file, but {text} came.")
    digest = _checked_digest(text, sha256, remote)
    if remote:
        file = _download(text, str(digest), kind, Path(cache) if cache else _cache_folder())
    else:
        file = Path(path)
        if digest and _hash(file) != digest:
            raise ModelError(f"{file} is not the file expected: its SHA-256 is {_hash(file)} instead of {digest}.")
    return _read_safetensors(file) if kind == ".safetensors" else _read_pickle(file)


def _checked_digest(text: str, sha256: str | None, remote: bool) -> str | None:
    if sha256 is None and not remote:
        return None
    digest = (sha256 or "").strip().lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ModelError(
            f"Weights are only downloaded with the SHA-256 they must have (64 hexadecimal digits), but {sha256!r} came "
            f"for {text}. Pass sha256, or download the file yourself and pass its path."
        )
    return digest


def _hash(file: Path) -> str:
    with _opened(file) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _cache_folder() -> Path:
    if os.environ.get("FINESCAN_CACHE"):
        return Path(os.environ["FINESCAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finescan" / "weights"


def _download(url: str, digest: str, kind: str, folder: Path) -> Path:
    """The file of an address, from the cache if it is there; appears under its name only when whole and right."""
    file = folder / f"{digest}{kind}"
    if file.is_file() and _hash(file) == digest:
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, suffix=".part")
    except OSError as e:
        raise OutputError(f"Weights cannot be kept in {folder} ({e.strerror or e}). Pass another cache folder.") from e
    try:
        with os.fdopen(handle, "wb") as f:
            came = _fetch(url, f.write)
        if came != digest:
            raise ModelError(f"{url} is not the file expected: its SHA-256 is {came} instead of {digest}. Not kept.")
        Path(part).replace(file)
    finally:
        Path(part).unlink(missing_ok=True)
    return file


def _fetch(url: str, write: Callable[[bytes], object]) -> str:
    """Pass on what an address holds, piece by piece; gives its SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
            while piece := answer.read(_CHUNK):
                digest.update(piece)
                write(piece)
                size += len(piece)
                if size > _LARGEST_FILE:
                    raise ModelError(f"{url} holds more than {_LARGEST_FILE // 2**30} GiB; these are not the weights.")
    except (OSError, http.client.HTTPException) as e:
        if getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"There is no room to keep the weights of {url}. Pass another cache folder.") from e
        raise ModelError(
            f"The weights could not be downloaded from {url} ({e}). Check the network, or download the file on "
            "another machine and pass its path."
        ) from e
    return digest.hexdigest()


def _read_safetensors(file: Path) -> dict[str, Any]:
    with _opened(file):
        try:
            return load_file(file)
        except (SafetensorError, OSError) as e:
            raise _damaged(file, e) from e


def _read_pickle(file: Path) -> dict[str, Any]:
    with _opened(file) as f:
        try:
            state = torch.load(f, map_location="cpu", weights_only=True)
        except Exception as e:  # a damaged pickle may fail in any way
            if isinstance(e, pickle.UnpicklingError) and ("Unsupported" in str(e) or "GLOBAL" in str(e)):
                raise ModelError(
                    f"{file} holds more than tensors, and reading it would run code from it; it is refused. Ask its "
                    "author for the state dict alone, best as .safetensors."
                ) from e
            raise _damaged(file, e) from e
    if not isinstance(state, dict):
        raise ModelError(f"{file} must hold a state dict, but holds a {type(state).__name__}.")
    return state


def _opened(file: Path) -> io.BufferedReader:
    try:
        return file.open("rb")
    except OSError as e:
        raise ModelError(f"The weights {file} cannot be read ({e.strerror or e}). Check the path.") from e


def _damaged(file: Path, e: Exception) -> ModelError:
    reason = (str(e).strip() or type(e).__name__).split("\n")[0][:200]
    return ModelError(f"{file} is not a readable weights file ({reason}). Download or copy it again.")
