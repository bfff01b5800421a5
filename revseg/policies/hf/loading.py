"""A policy's model, processor and codec: loaded whole from a folder that was checked, or refused."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from revseg.devices import pick_device, pick_dtype
from revseg.errors import InputError
from revseg.policies.hf.codecs import Codec, codec_class
from revseg.policies.hf.codecs.pairing import check_ends
from revseg.policies.hf.lora_adapter import load_adapter
from revseg.untrusted.model_folder import check_model_folder, find_folder
from revseg.untrusted.pretrained import load_checked, load_config, load_processor

SMALL = 1 << 27  # bytes


def load(
    model: str,
    dtype: str,
    device: str,
    device_map: str | None,
    attention: str | None,
    adapter: str | None,
    fps: float = 2.0,
) -> tuple[Any, Codec]:
    """Model (eval mode) and codec. InputError, naming what was looked for, when either cannot be loaded."""
    import torch

    from revseg.policies.hf.attention import use_own_attention

    where = pick_device(device)
    on_cpu = device_map is None and where.type == "cpu"
    options: dict[str, Any] = {"dtype": pick_dtype(dtype, torch.float32 if on_cpu else torch.bfloat16)}
    if device_map is not None:
        options["device_map"] = device_map
    options["attn_implementation"] = attention or "sdpa"
    folder, family = _folder(model, weights=True)
    config_class, model_class, processor_class = family.classes()
    with _no_bar() if _size(folder) < SMALL else nullcontext():  # a bar would flash by
        net = load_checked(model_class, config_class, folder, **options)
    net.name_or_path = net.config._name_or_path = model  # what is written beside adapters: not a folder of the cache
    codec = _codec(family, processor_class, net.config, net.generation_config, folder, fps)
    if attention in (None, "sdpa"):
        use_own_attention(net)
    if device_map is None:
        net = net.to(where)
    if adapter is not None:
        net = load_adapter(net, adapter)
    return net.eval(), codec


def load_codec(model: str, fps: float = 2.0) -> Codec:
    """The codec alone, of a folder or a hub name: no weights are read, nor looked for. InputError as for `load`."""
    from transformers import GenerationConfig

    folder, family = _folder(model, weights=False)
    config_class, _, processor_class = family.classes()
    config = load_config(config_class, folder)
    if (folder / "generation_config.json").exists():
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
    else:
        generation = GenerationConfig.from_model_config(config)
    return _codec(family, processor_class, config, generation, folder, fps)


def _codec(family: Any, processor_class: Any, config: Any, generation: Any, folder: Path, fps: float) -> Codec:
    processor = load_processor(processor_class, folder)
    family.check(processor, config, folder)
    return family(processor, config, stops=check_ends(generation.eos_token_id, config, folder), fps=fps)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _folder(model: str, *, weights: bool) -> tuple[Path, Any]:
    """The folder of a model, and the class of its family's codec."""
    files = ("*.json", "*.txt", "*.jinja", *(("*.safetensors",) if weights else ()))
    try:
        folder = find_folder(model, files)
        kind = check_model_folder(folder, weights=weights).get("model_type")
    except InputError as error:
        raise InputError(f"cannot load a model from {model!r}: {error}") from error
    return folder, codec_class(kind, folder / "config.json")


@contextmanager
def _no_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
