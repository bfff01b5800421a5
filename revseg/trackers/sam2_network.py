"""SAM 2's network for Meta's package: where its weights and configuration are, and how it is built of them."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from revseg.errors import InputError, MissingExtraError
from revseg.trackers.sam2_config import build, read_config
from revseg.untrusted.model_folder import check_fit, check_whole, read_tensors, short

_WEIGHTS = (".safetensors", ".pt", ".pth")


def find_files(model: str, config: str | None) -> tuple[Path, Path]:
    """(configuration, weights) as files, for a hub name, a weights file or a folder. InputError when not found."""
    try:
        from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES as known
    except ImportError as error:
        raise MissingExtraError(f"the tracker sam2 needs Meta's package: pip install rf-sam-2 ({error})") from error
    config_of = {Path(weights).stem: name for name, weights in known.values()}  # by the stem of Meta's file names
    path = Path(model).expanduser()
    if path.is_dir():
        weights = _weights_in(path)
        return (find_config(config) if config else _config_in(path, config_of.get(weights.stem))), weights
    if path.is_file():
        if config is None and path.stem not in config_of:
            raise InputError(f"expected config=FILE.yaml with weights {model!r}, whose name is none of Meta's")
        return find_config(config or config_of[path.stem]), path
    if model not in known:
        raise InputError(f"expected a SAM 2 model, a file or a folder, got {model!r}; known: {', '.join(known)}")
    return find_config(config or known[model][0]), _download(model, known[model][1])


def _config_in(folder: Path, default: str | None) -> Path:
    """The folder's only yaml file; where it has none, the package's configuration named `default`."""
    yamls = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    if not yamls and default is not None:
        return find_config(default)
    if len(yamls) != 1:
        raise InputError(
            f"expected one .yaml or .yml file in {folder}, got {[p.name for p in yamls]}; name it with config=FILE"
        )
    return yamls[0]


def find_config(name: str) -> Path:
    """A yaml file, or one of the package's own configurations."""
    import sam2

    own = Path(name).expanduser()
    path = own if own.is_file() else Path(sam2.__path__[0]) / name
    if not path.is_file():
        raise InputError(f"expected a yaml file or one of the sam2 package's configurations, got {name!r}")
    return path


def _weights_in(folder: Path) -> Path:
    """The weights file for Meta's package; of the same weights in two formats the .safetensors.

    A snapshot of Meta's repository on the hub holds a .pt for this package, and `model.safetensors` for transformers,
    the same network under other names of tensors.
    """
    found = sorted(p for p in folder.iterdir() if p.suffix in _WEIGHTS)
    own = [p for p in found if p.suffix != ".safetensors" or not _of_transformers(p)]
    stems = {p.stem for p in own}
    if found and not own:
        raise InputError(f"{folder} holds SAM 2 in transformers' format ({found[0].name}): use sam2_hf:model={folder}")
    if len(stems) != 1:
        raise InputError(
            f"expected one {' or '.join(_WEIGHTS)} file in {folder}, got {[p.name for p in found]}; "
            "name the file itself: sam2:model=FILE,config=FILE.yaml"
        )
    return min(own, key=lambda p: _WEIGHTS.index(p.suffix))


def _of_transformers(path: Path) -> bool:
    from safetensors import safe_open

    check_whole(path)
    with safe_open(path, "pt") as file:
        return any(name.startswith("vision_encoder.") for name in file.keys())  # noqa: SIM118  (not a mapping)


def _download(model: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, file))
    except OSError as error:  # the hub's errors are OSErrors, a missing connection too
        raise InputError(
            f"cannot get {file} of {model} from the Hugging Face hub: {short(error)}. "
            "Download it where the hub can be reached, then pass the file or its folder: sam2:model=FOLDER"
        ) from error


def _settings(config: Path, image_size: int | None) -> dict[str, Any]:
    """The configuration in the file, with the settings of Meta's video predictor."""
    settings = read_config(config) | {
        "binarize_mask_from_pts_for_mem_enc": True,
        "compile_image_encoder": False,  # left to the option `compile`
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }
    return settings if image_size is None else settings | {"image_size": image_size}


def build_network(config: Path, image_size: int | None, *, empty: bool = False) -> Any:
    """The network without its weights; `empty` allocates no memory for them."""
    from accelerate import init_empty_weights

    settings = _settings(config, image_size)
    try:
        with init_empty_weights(include_buffers=False) if empty else nullcontext():
            return build(settings)
    except Exception as error:  # SAM 2's classes get unchecked options, and may raise anything
        raise InputError(
            f"{config} does not describe a SAM 2 network: {type(error).__name__} {short(error)}"
        ) from error


def load_network(config: Path, weights: Path, image_size: int | None) -> Any:
    """The network with its weights. Their shapes are compared first, before the network takes any memory."""
    state = read_tensors(weights)
    expected = {n: tuple(t.shape) for n, t in build_network(config, image_size, empty=True).state_dict().items()}
    stored = {n: tuple(t.shape) for n, t in state.items()}
    different = {n: (stored[n], expected[n]) for n in stored.keys() & expected.keys() if stored[n] != expected[n]}
    what = f"the weights {weights} are not of this configuration, {config}"
    check_fit(what, expected.keys() - stored.keys(), stored.keys() - expected.keys(), different)
    net = build_network(config, image_size)
    net.load_state_dict(state)
    return net
