"""Checkpoints of promptable video models for transformers: which classes read a folder, and what it may hold."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.untrusted.model_folder import check_model_folder, find_folder, short
from revseg.untrusted.pretrained import load_checked, load_processor


@dataclass(frozen=True)
class Kind:
    """How checkpoints of one model type are read: names of transformers' classes."""

    model: str
    config: str
    processor: str
    parts: tuple[str, ...]  # prefixes of the model types within
    since: str = ""  # the release of transformers that reads them, where it is above revseg's own lowest one


_SAM3_PARTS = ("sam3", "clip_text_model")
SAM3_SINCE = "5.8"  # 5.5 does not find the tracker's tensors in the whole model
KINDS = {
    "sam2_video": Kind("Sam2VideoModel", "Sam2VideoConfig", "Sam2VideoProcessor", ("sam2",)),
    "edgetam_video": Kind(
        "EdgeTamVideoModel", "EdgeTamVideoConfig", "Sam2VideoProcessor", ("edgetam", "sam2", "timm_wrapper")
    ),
    # the whole SAM 3, of which the tracker is a part, as `facebook/sam3` holds it
    "sam3_video": Kind(
        "Sam3TrackerVideoModel", "Sam3VideoConfig", "Sam3TrackerVideoProcessor", _SAM3_PARTS, SAM3_SINCE
    ),
    "sam3_tracker_video": Kind(
        "Sam3TrackerVideoModel", "Sam3TrackerVideoConfig", "Sam3TrackerVideoProcessor", ("sam3",), SAM3_SINCE
    ),
}
_TIMM_OPTIONS = {"in_chans", "features_only", "out_indices"}  # no other names a file or a place on the network


CONCEPTS = {"sam3_video": Kind("Sam3VideoModel", "Sam3VideoConfig", "Sam3VideoProcessor", _SAM3_PARTS, SAM3_SINCE)}


def load_tracker_model(model: str, kinds: Mapping[str, Kind] = KINDS, **options: Any) -> tuple[Any, Any]:
    """The network and the processor of a hub name or folder. InputError when there is none or it cannot be read."""
    import transformers

    try:
        _refuse_sam31(model)
        folder = find_folder(model)
        kind = _kind(folder, kinds)
        classes = [getattr(transformers, name) for name in (kind.model, kind.config, kind.processor)]
        net = load_checked(classes[0], classes[1], folder, family=kind.parts, **options)
        return net, load_processor(classes[2], folder)
    except InputError as error:
        raise InputError(f"cannot load the tracker model {model!r}: {error}") from error


class FirstUse:
    """Turns the errors of a model into InputErrors until it has worked once: transformers looks at many numbers of a
    checkpoint only when it uses them, so what fails before is a damaged checkpoint."""

    def __init__(self, model: str) -> None:
        self.model, self.worked = model, False

    @contextmanager
    def guard(self) -> Iterator[None]:
        import torch

        try:
            yield
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if self.worked:
                raise
            raise InputError(
                f"the tracker model {self.model!r} cannot be used ({type(error).__name__}: {short(error)}); copy all "
                "files of one model"
            ) from error


def _kind(folder: Path, kinds: Mapping[str, Kind]) -> Kind:
    if not (folder / "config.json").exists() and any(p.suffix in (".yaml", ".yml") for p in folder.iterdir()):
        raise InputError(f"{folder} holds SAM 2 in the format of Meta's package: use sam2:model={folder}")
    config = check_model_folder(folder)
    name = config.get("model_type")
    if not isinstance(name, str) or name not in kinds:
        raise InputError(f"expected model_type {' or '.join(kinds)} in {folder / 'config.json'}, got {name!r}")
    _check_release(kinds[name])
    for backbone in _timm_backbones(config):
        _check_timm(backbone, folder / "config.json")
    return kinds[name]


def _check_release(kind: Kind) -> None:
    import transformers
    from packaging.version import Version

    if kind.since and Version(transformers.__version__) < Version(kind.since):
        raise InputError(
            f"{kind.model} needs transformers {kind.since} or newer, this is {transformers.__version__}: "
            "pip install --upgrade transformers"
        )


def _refuse_sam31(model: str) -> None:
    if re.search(r"sam[-_]?3[._]1", Path(model).name.lower()):
        raise InputError(
            "SAM 3.1 has tensors of other shapes than SAM 3, and transformers has no model for it; use facebook/sam3"
        )


def _timm_backbones(node: Any) -> Iterator[dict[str, Any]]:
    """The parts of a configuration that timm would build."""
    if isinstance(node, dict):
        if node.get("model_type") == "timm_wrapper":
            yield node
        for value in node.values():
            yield from _timm_backbones(value)
    elif isinstance(node, list):
        for value in node:
            yield from _timm_backbones(value)


def _check_timm(backbone: dict[str, Any], path: Path) -> None:
    """InputError for a backbone of timm that is not plain, as timm also reads files and the network by its options."""
    import importlib.util

    name, options = backbone.get("architecture", ""), backbone.get("model_args") or {}
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.]*", name):
        raise InputError(f"expected the name of an architecture of timm in {path}, got {str(name)[:80]!r}")
    if not isinstance(options, dict) or not set(options) <= _TIMM_OPTIONS:
        raise InputError(f"expected model_args of {', '.join(sorted(_TIMM_OPTIONS))} in {path}, got {options!s:.80}")
    if importlib.util.find_spec("timm") is None:
        raise InputError(f"the backbone {name} of this model needs timm: pip install 'revseg[edgetam]'")
