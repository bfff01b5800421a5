"""Checks of a model's folder before any other package reads it: found, complete, undamaged, and without code.

Policies and trackers share them. Every problem is an `InputError` of one line that says what to do.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revseg.errors import InputError

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_CONFIGS = tuple(
    f"{name}.json"
    for name in (
        *("config", "generation_config", "preprocessor_config", "video_preprocessor_config", "processor_config"),
        *("tokenizer", "tokenizer_config", "special_tokens_map", "added_tokens", "vocab", "chat_template"),
    )
)


def find_folder(model: str, patterns: Collection[str] = ("*.json", "*.safetensors", "*.txt", "*.jinja")) -> Path:
    """The folder `model`, or the hub's model of that name, downloaded in one call.

    InputError for a file, and for a name that is neither a folder nor available from the hub.
    """
    path = Path(model).expanduser()
    if model and path.is_dir():
        return path
    if path.is_file():
        raise InputError(f"expected a folder or a hub name, got the file {model!r}; name the folder that contains it")
    if not re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", model):
        raise InputError(f"there is no folder {model!r}{_near(path)}; expected a hub name (OWNER/NAME) or a folder")
    from huggingface_hub import snapshot_download

    try:
        # in one call: file by file, an unreachable hub would cost minutes
        return Path(snapshot_download(model, allow_patterns=list(patterns), ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors, also without a connection
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise InputError(
                f"the hub does not give out {model!r} ({short(error)}): if its licence has to be accepted, do so on "
                f"https://huggingface.co/{model} and log in with `hf auth login`, or pass the folder of a download"
            ) from error
        raise InputError(
            f"there is no folder {model!r} here{_near(path)}, and the hub gives no model of that name "
            f"({short(error)}): correct the path, or download the model elsewhere and pass its folder"
        ) from error


def check_model_folder(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """The folder's config.json, after checking that all files of a transformers model in it can be read.

    Without `weights` none are needed. InputError for a file that is missing, truncated, a Git LFS pointer, a pickle,
    not JSON, or outside the folder.
    """
    if not (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "BASE"
        raise InputError(f"{folder} holds a LoRA adapter, not a model: write model={base},adapter={folder}")
    if not (folder / "config.json").exists():
        names = sorted(path.name for path in folder.iterdir())[:5]
        raise InputError(
            f"expected a model's config.json and its safetensors in {folder}, got {names or 'no files'}; "
            "download the whole model and pass its folder"
        )
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{folder} holds a model and an adapter: move adapter_* to a folder of its own, for adapter=")
    for name in _CONFIGS:
        if (folder / name).exists():
            read_json(folder / name)
    for path in weight_files(folder) if weights else ():
        check_whole(path)
    return read_json(folder / "config.json")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would read; InputError if there are none or one is missing."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if not (folder / INDEX).exists():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise InputError(
                f"the weights in {folder} are pickles ({pickles[0]}), which can run code when they are read: expected "
                f"{WEIGHTS}; if you trust them, load them with transformers and save them with save_pretrained"
            )
        raise InputError(f"expected weights in {folder}: {WEIGHTS}, or {INDEX} and its shards; copy them there")
    shards = read_json(folder / INDEX).get("weight_map")
    values = list(shards.values()) if isinstance(shards, dict) else []
    names = set(values) if values and all(map(_is_text, values)) else {""}
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"{folder / INDEX} names {name!r}: expected .safetensors files of this folder")
        if not (folder / name).exists():
            raise InputError(f"{folder / INDEX} names {name}, which is not there; download the missing file")
    return [folder / name for name in sorted(names)]


def check_file(path: Path) -> None:
    """InputError if `path` is not a regular file, or is a Git LFS pointer."""
    if not path.is_file():
        raise InputError(f"expected a file {path}, got {'a folder' if path.is_dir() else 'none that can be read'}")
    try:
        with path.open("rb") as file:
            start = file.read(40)
    except OSError as error:
        raise InputError(f"cannot read {path}: {short(error)}") from error
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer, not the file: run `git lfs pull` there, or download it again")


def check_whole(path: Path) -> None:
    """InputError if a file is not a complete safetensors file."""
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(path, "pt"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is cut short or damaged ({short(error)}); download it again") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError if there is anything else in it."""
    check_file(path)
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({short(error)}); download it again") from error
    if not isinstance(data, dict):
        raise InputError(f"expected a JSON object in {path}, got {type(data).__name__}; download it again")
    return data


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a .safetensors file, or of a pickle with nothing but tensors; InputError otherwise."""
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        check_whole(path)
        return load_file(path)
    check_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles and archives raise exceptions of any type
        raise InputError(
            f"{path} is cut short, damaged, or holds more than tensors ({type(error).__name__}), which are not read; "
            "expected a .safetensors file, or the .pt as its authors published it"
        ) from error
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(_is_text(k) and isinstance(v, torch.Tensor) for k, v in state.items()):
        raise InputError(
            f"expected named tensors in {path}, at the top or under the key model; got {type(state).__name__}"
        )
    return state


def check_fit(
    what: str, missing: Iterable[str], unexpected: Iterable[str], shapes: Mapping[str, tuple[Any, Any]]
) -> None:
    """InputError if weights do not fit a network. `shapes`: (found, expected) for each tensor of another shape."""
    others = [f"{name} {list(got)} for {list(wanted)}" for name, (got, wanted) in sorted(shapes.items())]
    parts = [("missing", sorted(missing)), ("unexpected", sorted(unexpected)), ("of another shape", others)]
    found = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in parts
        if names
    ]
    if found:
        raise InputError(f"{what}: tensors {'; '.join(found)}; use the weights and the configuration of one model")


def short(error: BaseException) -> str:
    """The first line of an error, without the advice that other packages append."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _near(path: Path) -> str:
    """A hint at a folder whose name is close to a mistyped one."""
    beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f" (did you mean {str(path.with_name(near[0]))!r}?)" if near else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
