"""What the files beside a model's weights say, read without them: what it was taught, and its family's geometry."""

from collections.abc import Mapping
from typing import Any

from revseg.errors import InputError
from revseg.registry import registry
from revseg.types import Geometry
from revseg.untrusted.model_folder import find_folder
from revseg.untrusted.reading import read_json

NAME, CONFIG = "revseg.json", "config.json"


def read_defaults(model: str) -> Mapping[str, Any]:
    """Of a folder, or of a model on the hub, of which only this file is fetched; {} where there is no such file.

    A model of the hub that cannot be asked is looked up in the local cache: what lies there is what would be loaded.
    InputError for a damaged file, and for a name under which nothing is to be had. This is data from elsewhere, which
    `ReVSeg` checks before it is used.
    """
    path = find_folder(model, (NAME,)) / NAME
    if not path.is_file():
        return {}
    data = read_json(path, "what a checkpoint was taught")
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object with plan, sampler and num_frames, got {data!r:.80}")
    return data


def read_geometry(model: str) -> Geometry:
    """Of the family that a model's config.json names; the plain one where loading will refuse the model anyway."""
    path = find_folder(model, (CONFIG,)) / CONFIG
    config = read_json(path, "a model's configuration") if path.is_file() else {}
    kind = config.get("model_type") if isinstance(config, dict) else None
    name = kind.replace("-", "_") if isinstance(kind, str) else ""
    return registry("codec").get(name).geometry(config) if name in registry("codec") else Geometry()
