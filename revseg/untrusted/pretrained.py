"""Loads transformers' models from a checked folder: no code from it is run, and every tensor comes from its weights."""

import copy
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.untrusted.model_folder import check_fit, read_json, short, weight_files

SPARE = 50_000_000  # numbers that a network may have beside its weights, such as position tables
LAYERS = 1024  # the most of one part: layers are created one by one before any weight is read
# what a folder must not choose: a kernel's repository, another weights file, code beside the weights
_NOT_THEIRS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")
_NOT_THEIRS += ("_experts_implementation", "transformers_weights", "auto_map", "custom_pipelines")


def load_checked(
    model_class: Any, config_class: Any, folder: Path, *, family: str | tuple[str, ...] = "", **options: Any
) -> Any:
    """The model in `folder`, which has passed `check_model_folder`.

    `family` is the prefix (or several) that every part's model_type must have, because transformers looks parts up by
    it.
    InputError if the configuration cannot be read, the model cannot be created, or tensors are missing, unexpected or
    of another shape.
    """
    data = _plain(read_json(folder / "config.json"), folder, family)
    try:
        config = config_class.from_dict(data)
        if not data.get("quantization_config"):
            _check_size(model_class, config, folder)
        with _quiet():
            model, info = model_class.from_pretrained(
                folder,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported with the others below
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                **options,
            )
    except InputError:
        raise
    except Exception as error:  # odd configurations raise exceptions of any type
        raise InputError(f"cannot make a model of {folder}: {type(error).__name__} {short(error)}") from error
    shapes = {name: (tuple(got), tuple(wanted)) for name, got, wanted in info["mismatched_keys"]}
    unexpected = [name for name in info["unexpected_keys"] if not name.endswith("rotary_emb.inv_freq")]  # computed
    check_fit(f"the weights in {folder} are not of its config.json", info["missing_keys"], unexpected, shapes)
    return model


def load_config(config_class: Any, folder: Path, *, family: str | tuple[str, ...] = "") -> Any:
    """The configuration of `folder`, as `load_checked` reads it. InputError when it cannot be read."""
    data = _plain(read_json(folder / "config.json"), folder, family)
    try:
        return config_class.from_dict(data)
    except Exception as error:  # as above
        raise InputError(f"cannot read {folder / 'config.json'}: {type(error).__name__} {short(error)}") from error


def load_processor(processor_class: Any, folder: Path) -> Any:
    """The processor in `folder`; InputError if its files are missing or damaged."""
    settings = folder / "processor_config.json"
    if "audio_tokenizer" in (read_json(settings) if settings.exists() else {}):
        raise InputError(f"{settings} names an audio_tokenizer, another model to load; remove it")
    try:
        return processor_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exceptions
        raise InputError(
            f"cannot read the processor in {folder}: {type(error).__name__} {short(error)}; "
            "expected the model's tokenizer and preprocessor files beside its weights"
        ) from error


def _check_size(model_class: Any, config: Any, folder: Path) -> None:
    """InputError, before any memory is used, if the configured network is much larger than the weights."""
    from accelerate import init_empty_weights
    from safetensors import safe_open

    with init_empty_weights(include_buffers=True):
        model = model_class(copy.deepcopy(config))
    size = sum(part.numel() for part in (*model.parameters(), *model.buffers()))
    stored = 0
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            stored += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    if size > 1.5 * stored + SPARE:
        raise InputError(
            f"the weights in {folder} are not of its config.json: it describes a network of {size:,} numbers, "
            f"they have {stored:,}; use the weights and the configuration of one model"
        )


def _plain(node: Any, folder: Path, family: str | tuple[str, ...]) -> Any:
    """The configuration without keys that lead to code, other files or another network, at any depth."""
    path = folder / "config.json"
    if isinstance(node, list):
        return [_plain(item, folder, family) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("model_type") and not str(node["model_type"]).startswith(family):
        wanted = family if isinstance(family, str) else " or ".join(family)
        raise InputError(f"expected parts of {wanted} in {path}, got model_type {str(node['model_type'])[:80]!r}")
    for name, value in node.items():
        counts = value if isinstance(value, list) else [value]
        if re.search("layers|depth|blocks", name) and any(isinstance(n, int) and n > LAYERS for n in counts):
            raise InputError(f"expected {name} of at most {LAYERS} in {path}, got {str(value)[:80]}")
    return {name: _plain(value, folder, family) for name, value in node.items() if name not in _NOT_THEIRS}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' table of tensors that do not fit; the error lists them."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
