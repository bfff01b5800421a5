"""Puts the LoRA adapter in a folder written by peft on a model: every tensor finds its place, or none is loaded.

The names of the tensors say which layers are adapted. The configuration is untrusted data: what it may set is listed
here, its patterns are only compared with names, under a time limit, and nothing that it names is imported.
"""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError
from revseg.policies.hf.lora_patterns import Patterns
from revseg.untrusted.model_folder import PICKLES, check_fit, find_folder, read_json, read_tensors, short

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
RENAMED = (  # by transformers 4.52
    ("model.layers.", "model.language_model.layers."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.norm.", "model.language_model.norm."),
    ("visual.", "model.visual."),
)
LORA = re.compile(r"(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.weight)?")
FOLLOWED = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "modules_to_save")
FROM_TENSORS = (  # where the adapter lies and how it was initialised: known from the tensors
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern"),
    *("peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "inference_mode"),
    *("init_lora_weights", "auto_mapping", "ensure_weight_tying", "fan_in_fan_out"),
)
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")  # others also change the model's own weights


def load_adapter(model: Any, adapter: str) -> Any:
    """The peft model that applies and trains the adapter in the folder `adapter` (or of that name on the hub).

    Names of tensors from transformers before 4.52 are translated. InputError for another kind of adapter, settings that
    are not supported, and tensors that are missing, of another shape, or without a place in the model.
    """
    folder = find_folder(adapter, ("adapter_config.json", WEIGHTS))
    config = _read_config(folder)
    state = read_tensors(_weights(folder))
    modules = {name for name, _ in model.named_modules()}
    names = {name: _today(name.removeprefix(PREFIX), modules) for name in state}
    renamed = {today: name.removeprefix(PREFIX) for name, today in names.items() if PREFIX + today != name}
    state = {PREFIX + today: state[name] for name, today in names.items()}
    if not any(LORA.fullmatch(name) for name in state):
        raise InputError(f"{folder / WEIGHTS} holds no LoRA tensors; expected those that peft's save_pretrained writes")
    try:
        return _placed(model, config, state, folder, old=bool(renamed))
    except InputError:
        raise
    except Exception as error:  # peft on a stranger's settings raises anything
        raise InputError(f"the adapter {folder} cannot be put on this model: {short(error)}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json; InputError unless it is LoRA with settings that are supported."""
    from peft import LoraConfig

    path = folder / "adapter_config.json"
    if not path.exists():
        whole = (folder / "config.json").exists()
        hint = f"; that is a whole model: write qwen:model={folder}" if whole else ""
        raise InputError(f"expected a LoRA folder written by peft, with adapter_config.json, got {str(folder)!r}{hint}")
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise InputError(f"expected peft_type LORA in {path}, got {config.get('peft_type')!r}; merge it into the model")
    usual = LoraConfig().to_dict()
    for name, value in config.items():
        if name not in (*FOLLOWED, *FROM_TENSORS) and value not in (None, False, {}, [], usual.get(name)):
            raise InputError(f"{path} sets {name}, which is not followed here; merge the adapter into its model")
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        raise InputError(
            f"{path} has init_lora_weights {str(config['init_lora_weights'])[:40]!r}, which changed the model's own "
            "weights too; save it as plain LoRA (peft's path_initial_model_for_weight_conversion)"
        )
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(
        isinstance(name, str) and re.fullmatch(r"[\w.]+", name) for name in saved
    ):
        raise InputError(f"expected names of modules in modules_to_save of {path}, got {str(saved)[:80]}")
    return config


def _weights(folder: Path) -> Path:
    if not (folder / WEIGHTS).exists():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        had = f"the pickle {pickles[0]}, which can run code when it is read" if pickles else "none"
        raise InputError(f"expected the adapter's weights {WEIGHTS} in {folder}, got {had}; save it with peft anew")
    return folder / WEIGHTS


def _today(name: str, modules: Collection[str]) -> str:
    """The name of a tensor in today's transformers; an old name is replaced if the model has only the new module."""
    for old, new in RENAMED:
        if name.startswith(old) and old.rstrip(".") not in modules and new.rstrip(".") in modules:
            return new + name.removeprefix(old)
    return name


def _yesterday(name: str) -> str:
    """The inverse of `_today`: the module's name in older transformers."""
    for old, new in RENAMED:
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def _placed(model: Any, config: Mapping[str, Any], state: "dict[str, torch.Tensor]", folder: Path, *, old: bool) -> Any:
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    what = f"the adapter {folder} is not of this model"
    layers = {found[1].removeprefix(PREFIX) for name in state if (found := LORA.fullmatch(name))}
    modules = {name for name, module in model.named_modules() if not list(module.children())}
    check_fit(what, (), [name for name in layers if name not in modules], {})
    patterns = Patterns(folder / "adapter_config.json", {n: _yesterday(n) if old else n for n in modules})
    aimed = patterns.aimed(config, model)
    if aimed is not None:
        check_fit(what, [f"{name}.lora_A" for name in aimed - layers], (), {})
        check_fit(f"{what}: target_modules does not name layers that have tensors", (), layers - aimed, {})
    ranks = patterns.values(config.get("rank_pattern") or {}, layers, config.get("r", 8))
    alphas = patterns.values(config.get("alpha_pattern") or {}, layers, config.get("lora_alpha", 8))
    _check_ranks(what, state, ranks)
    if not all(isinstance(alpha, int | float) and math.isfinite(alpha) for alpha in alphas.values()):
        raise InputError(f"{what}: expected numbers as lora_alpha and in alpha_pattern of adapter_config.json")
    given = {name: config[name] for name in FOLLOWED if name in config}
    lora = LoraConfig(**given, target_modules=sorted(layers), rank_pattern=ranks, alpha_pattern=alphas)
    peft = get_peft_model(model, lora)
    _check_tensors(what, state, get_peft_model_state_dict(peft, save_embedding_layers=False), peft.state_dict())
    set_peft_model_state_dict(peft, state)
    return peft


def _check_tensors(
    what: str,
    state: "Mapping[str, torch.Tensor]",
    wanted: "Mapping[str, torch.Tensor]",
    every: "Mapping[str, torch.Tensor]",
) -> None:
    """InputError unless the tensors are those of the adapter; peft also saves adapted embeddings, which are allowed."""
    shapes = {
        name: (tuple(state[name].shape), tuple(wanted[name].shape))
        for name in wanted.keys() & state.keys()
        if state[name].shape != wanted[name].shape
    }
    whole = {name for name in state if name.endswith(("embed_tokens.weight", "lm_head.weight", "base_layer.weight"))}
    known = {name for name in whole if name in every and every[name].shape == state[name].shape}
    check_fit(what, wanted.keys() - state.keys(), state.keys() - wanted.keys() - known, shapes)


def _check_ranks(what: str, state: "Mapping[str, torch.Tensor]", ranks: Mapping[str, Any]) -> None:
    """InputError unless the ranks of the configuration are those of the tensors, before anything is allocated."""
    for layer, rank in ranks.items():
        for part in ("lora_A.weight", "lora_embedding_A"):
            came = state.get(f"{PREFIX}{layer}.{part}")
            if came is not None and came.shape[:1] != (rank,):
                raise InputError(f"{what}: {layer}.{part} is {list(came.shape)}, of another rank than {rank!r:.40}")
