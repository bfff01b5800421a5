"""SAM 2's network from an untrusted yaml file, which may name Meta's classes and plain values, and nothing else.

Hydra would import and call whatever a file names. Here every `_target_` must be one of the classes that Meta's own
configurations use, checked after references `${a.b}` are resolved, and Hydra's other keys are errors.
"""

import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.untrusted.model_folder import check_file, short

ROOT = "sam2.modeling.sam2_base.SAM2Base"
CLASSES = frozenset(
    {
        ROOT,
        "sam2.modeling.backbones.hieradet.Hiera",
        "sam2.modeling.backbones.image_encoder.FpnNeck",
        "sam2.modeling.backbones.image_encoder.ImageEncoder",
        "sam2.modeling.memory_attention.MemoryAttention",
        "sam2.modeling.memory_attention.MemoryAttentionLayer",
        "sam2.modeling.memory_encoder.CXBlock",
        "sam2.modeling.memory_encoder.Fuser",
        "sam2.modeling.memory_encoder.MaskDownSampler",
        "sam2.modeling.memory_encoder.MemoryEncoder",
        "sam2.modeling.position_encoding.PositionEmbeddingSine",
        "sam2.modeling.sam.transformer.RoPEAttention",
    }
)
BYTES, NODES = 1 << 18, 5000  # Meta's files have 4 kB and 200 nodes
LARGEST = {"num_layers": 64, "stages": 256, "feat_sizes": 512}  # these decide how long building takes
LARGEST_NUMBER = 1 << 14  # of other options: Meta's image size is 1,024, the temperature of positions 10,000


def read_config(path: Path) -> dict[str, Any]:
    """The network's configuration in a yaml file, with references resolved and every class checked.

    InputError for what is not yaml, is too large, names another class, or holds anything but plain values.
    """
    import yaml

    check_file(path)
    if path.stat().st_size > BYTES:
        raise InputError(f"expected a SAM 2 configuration of a few kB, got {path.stat().st_size:,} bytes in {path}")
    try:
        data = yaml.safe_load(path.read_text("utf-8"))  # tags that name Python objects are errors
        if not isinstance(data, dict) or "model" not in data:
            raise InputError(f"expected a SAM 2 configuration with the key model in {path}")
        model = _Reader(path, data).plain(data["model"], "model")
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a yaml file of plain values ({short(error)})") from error
    if not isinstance(model, dict) or model.get("_target_") != ROOT:
        raise InputError(f"expected model._target_: {ROOT} in {path}; only classes of the sam2 package are built")
    return model


def build(config: Any) -> Any:
    """The network that a checked configuration describes."""
    if isinstance(config, list):
        return [build(item) for item in config]
    if not isinstance(config, dict):
        return config
    options = {name: build(value) for name, value in config.items() if name != "_target_"}
    if "_target_" not in config:
        return options
    target = config["_target_"]
    if target not in CLASSES:
        raise InputError(f"{target!r} is none of SAM 2's classes")
    module, _, name = target.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    for option, parameter in inspect.signature(made).parameters.items():
        _check_kind(option, options.get(option, parameter.default), parameter.default)
    return made(**options)


def _check_kind(option: str, value: Any, default: Any) -> None:
    """InputError unless the value is a bool or a number where the default is one; some are first used much later."""
    kinds = (bool,) if isinstance(default, bool) else (int, float) if isinstance(default, int | float) else ()
    if kinds and (not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool)):
        raise InputError(f"expected {option}: {default!r} or another of its kind, got {str(value)[:80]!r}")


class _Reader:
    """Copies a file's values, resolves its references, and checks each value.

    The number of values is limited, so that neither aliases nor references can multiply ("billion laughs").
    """

    def __init__(self, path: Path, root: Mapping[Any, Any]) -> None:
        self.path = path
        self.root = root
        self.left = NODES

    def plain(self, node: Any, key: str) -> Any:
        self.left -= 1
        if self.left < 0:
            raise InputError(f"expected a SAM 2 configuration of at most {NODES} values, got more in {self.path}")
        if isinstance(node, str) and "${" in node:
            return self.plain(self._referred(node), key)
        if isinstance(node, dict):
            copy = {name: self.plain(value, str(name)) for name, value in node.items()}
            self._check_keys(copy)
            return copy
        if isinstance(node, list):
            return [self.plain(item, key) for item in node]
        if isinstance(node, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d{1,3}", node):
            node = float(node)  # 1e-6 is text in YAML 1.1
        self._check_value(node, key)
        return node

    def _referred(self, text: str) -> Any:
        names = re.fullmatch(r"\$\{(\w+(?:\.\w+)*)\}", text)
        if names is None:
            raise InputError(f"{self.path} holds {text[:80]!r}: only ${{key.key}} alone is read; write the value")
        node: Any = self.root
        for name in names[1].split("."):
            if not isinstance(node, dict) or name not in node:
                raise InputError(f"{self.path} refers to {text[:80]}, which it does not hold; write the value")
            node = node[name]
        return node

    def _check_keys(self, node: Mapping[Any, Any]) -> None:
        if "_target_" in node and not (isinstance(node["_target_"], str) and node["_target_"] in CLASSES):
            raise InputError(
                f"{self.path} would call {str(node['_target_'])[:80]!r}; only classes of the sam2 package are built: "
                f"{', '.join(sorted(CLASSES))}"
            )
        for name in node:
            if not isinstance(name, str) or (name.startswith("_") and name != "_target_") or name == "weights_path":
                raise InputError(f"{self.path} holds the key {str(name)[:80]!r}; expected options of SAM 2's classes")
        if node.get("norm_layer", "LayerNorm") != "LayerNorm":
            raise InputError(f"expected norm_layer: LayerNorm in {self.path}, got {str(node['norm_layer'])[:80]!r}")

    def _check_value(self, value: Any, key: str) -> None:
        if value is None or isinstance(value, bool | str):
            return
        most = LARGEST.get(key, LARGEST_NUMBER)
        if not isinstance(value, int | float):
            raise InputError(f"expected plain values in {self.path}, got {type(value).__name__} at {key}")
        if not abs(value) <= most:  # NaN as well
            raise InputError(f"expected {key} of at most {most:,} in {self.path}, got {str(value)[:40]}")
