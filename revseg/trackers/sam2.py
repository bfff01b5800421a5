"""Tracker `sam2`: SAM 2 (Ravi et al., arXiv 2408.00714) on Meta's own package, streaming.

Meta's video predictor loads every frame and keeps every output. Here its network (`SAM2Base.track_step`) is fed
frame by frame and remembers a window, with the same masks as the predictor gives.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from revseg.devices import pick_device, pick_dtype
from revseg.errors import InputError, MissingExtraError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.trackers.sam2_config import build, read_config
from revseg.trackers.streaming import Output, TrackPrompt, track
from revseg.types import Grounding
from revseg.untrusted.model_folder import check_fit, check_whole, read_tensors, short
from revseg.video import Video

if TYPE_CHECKING:
    import torch

# ImageNet's, as Meta's loader has them
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
_WEIGHTS = (".safetensors", ".pt", ".pth")


@register("tracker", "sam2")
class Sam2Tracker:
    """SAM 2 by Meta's package (`pip install rf-sam-2`).

    `model` is a name on the Hugging Face hub that the package knows (`facebook/sam2.1-hiera-large`), a weights file
    (.pt or .safetensors), or a folder that holds weights and their yaml, such as a snapshot from the hub: of several
    files the one with Meta's names of tensors is read (not transformers' `model.safetensors` beside Meta's .pt), and
    of the same file in both formats the .safetensors. `config` is a yaml file, or one of the package's own such as
    `configs/sam2.1/sam2.1_hiera_l.yaml`; it is found by itself for Meta's file names. From a yaml only SAM 2's own
    classes are built, with plain values; of a .pt only tensors are read.
    `image_size` overrides the configuration's 1024 (a multiple of 32: smaller is faster). `dtype` is auto, float32,
    bfloat16 or float16; auto is bfloat16 on a GPU, float32 elsewhere. `compile` compiles the image encoder.

    The decoder falls back to several masks where one is not stable, and clicked masks are binarised before they are
    remembered: the settings of Meta's `build_sam2_video_predictor`. Its filling of holes of at most 8 low-resolution
    pixels needs a CUDA extension and is left out, as it is in Meta's own evaluation.
    Raises InputError when weights or configuration cannot be found or do not fit each other.
    """

    weights = ("model",)  # the option for a model's name, which the registry suggests

    def __init__(
        self,
        model: str = "facebook/sam2.1-hiera-large",
        config: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        image_size: int | None = None,
    ) -> None:
        self._model = _Sam2(*_find(model, config), device, dtype, compile, image_size)

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        return track(self._model, video, groundings)


class _Sam2:
    """Meta's network as a `VideoModel`."""

    def __init__(
        self, config: Path, weights: Path, device: str, dtype: str, compile: bool, image_size: int | None
    ) -> None:
        import torch

        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.net = _load(config, weights, image_size).to(self.device).eval()
        if compile:
            self.net.image_encoder.compile()
        memories = self.net.num_maskmem * self.net.memory_temporal_stride_for_eval
        self.window = max(memories, self.net.max_obj_ptrs_in_encoder)

    def inference(self) -> AbstractContextManager[Any]:
        import torch

        both = ExitStack()
        both.enter_context(torch.inference_mode())
        both.enter_context(torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32))
        return both

    def encode(self, frame: UInt8[np.ndarray, "h w 3"]) -> tuple[Any, Any, Any]:
        """(features, position encodings, sizes) of the levels that `track_step` wants."""
        import torch
        from PIL import Image

        side = self.net.image_size
        resized = np.array(Image.fromarray(frame).resize((side, side)))
        # channels first before anything is computed: sums over rows of three are slow, and Meta's tensors lie so
        pixels = resized.transpose(2, 0, 1).astype(np.float32, order="C")
        pixels /= 255
        pixels -= _MEAN
        pixels /= _STD
        with self.inference():
            backbone = self.net.forward_image(torch.from_numpy(pixels[None]).to(self.device))
            return self.net._prepare_backbone_features(backbone)[1:]

    def start(self, video: Video) -> "_Instance":
        return _Instance(self, len(video))


class _Instance:
    """What SAM 2 remembers of one instance: the whole of the state that Meta's package keeps, in two dicts."""

    def __init__(self, model: _Sam2, length: int) -> None:
        self.model = model
        self.length = length
        self.tracked: dict[int, Any] = {}
        self.prompted: dict[int, Any] = {}

    def prompt(self, features: Any, prompt: TrackPrompt) -> Output:
        import torch

        corners = np.zeros((0, 2), np.float32) if prompt.box is None else prompt.box.reshape(2, 2)
        labels = [2, 3] * (prompt.box is not None) + prompt.labels.astype(int).tolist()
        points = np.concatenate([corners, prompt.points]) * np.float32(self.model.net.image_size)
        inputs = {
            "point_coords": torch.from_numpy(points[None]).to(self.model.device),
            "point_labels": torch.tensor([labels], dtype=torch.int32, device=self.model.device),
        }
        return self._step(features, prompt.frame_id, inputs, reverse=False)

    def track(self, features: Any, frame_id: int, reverse: bool) -> Output:
        return self._step(features, frame_id, None, reverse=reverse)

    def _step(self, features: Any, frame_id: int, points: "dict[str, torch.Tensor] | None", *, reverse: bool) -> Output:
        import torch

        feats, positions, sizes = features
        with self.model.inference():
            out = self.model.net.track_step(
                frame_idx=frame_id,
                is_init_cond_frame=points is not None,
                current_vision_feats=feats,
                current_vision_pos_embeds=positions,
                feat_sizes=sizes,
                point_inputs=points,
                mask_inputs=None,
                output_dict={"cond_frame_outputs": self.prompted, "non_cond_frame_outputs": self.tracked},
                num_frames=self.length,
                track_in_reverse=reverse,
            )
            presence = float(out["object_score_logits"].float().sigmoid())
        # bfloat16 as Meta's predictor stores it; the high-resolution masks, by far the most bytes, are not kept.
        kept = {"maskmem_features": out["maskmem_features"].to(torch.bfloat16)}
        kept |= {key: out[key] for key in ("maskmem_pos_enc", "obj_ptr")}
        (self.tracked if points is None else self.prompted)[frame_id] = kept
        return Output(out["pred_masks"][0, 0], presence)


def _find(model: str, config: str | None) -> tuple[Path, Path]:
    """(yaml, weights) as files."""
    try:
        from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES as known
    except ImportError as error:
        raise MissingExtraError(f"the tracker sam2 needs Meta's package: pip install rf-sam-2 ({error})") from error
    of_file = {Path(weights).stem: name for name, weights in known.values()}
    path = Path(model).expanduser()
    if path.is_dir():
        weights = _weights(path)
        yamls = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml"))
        if config is None and not yamls and weights.stem in of_file:
            config = of_file[weights.stem]
        if config is None and len(yamls) != 1:
            raise InputError(
                f"expected one .yaml or .yml file in {path}, got {[p.name for p in yamls]}; name it with config=FILE"
            )
        return (_config(config) if config else yamls[0]), weights
    if path.is_file():
        if config is None and path.stem not in of_file:
            raise InputError(f"expected config=FILE.yaml with weights {model!r}, whose name is none of Meta's")
        return _config(config or of_file[path.stem]), path
    if model not in known:
        raise InputError(f"expected a SAM 2 model, a file or a folder, got {model!r}; known: {', '.join(known)}")
    return _config(config or known[model][0]), _download(model, known[model][1])


def _config(name: str) -> Path:
    import sam2

    own = Path(name).expanduser()
    path = own if own.is_file() else Path(sam2.__path__[0]) / name
    if not path.is_file():
        raise InputError(f"expected a yaml file or one of the sam2 package's configurations, got {name!r}")
    return path


def _weights(folder: Path) -> Path:
    """The weights file with Meta's names of tensors; of the same weights in two formats the one that is no pickle.

    A snapshot of Meta's repository on the hub holds the .pt for this package, and for transformers the same network
    under other names as `model.safetensors`.
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
        return any(name.startswith("vision_encoder.") for name in file.keys())  # noqa: SIM118  it is no mapping


def _download(model: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, file))
    except OSError as error:  # the hub's errors are OSErrors, no connection among them
        raise InputError(
            f"cannot get {file} of {model} from the Hugging Face hub: {short(error)}. "
            "Download it where the hub can be reached, then pass the file or its folder: sam2:model=FOLDER"
        ) from error


def _settings(config: Path, image_size: int | None) -> dict[str, Any]:
    """What `build` makes the network of: the file's values and ours."""
    settings = read_config(config) | {
        "binarize_mask_from_pts_for_mem_enc": True,
        "compile_image_encoder": False,  # the option `compile` decides
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }
    return settings if image_size is None else settings | {"image_size": image_size}


def _build(config: Path, image_size: int | None, *, empty: bool = False) -> Any:
    from accelerate import init_empty_weights

    settings = _settings(config, image_size)
    try:
        with init_empty_weights(include_buffers=False) if empty else nullcontext():
            return build(settings)
    except Exception as error:  # the classes are handed whatever the file says, and raise whatever they like
        raise InputError(
            f"{config} does not describe a SAM 2 network: {type(error).__name__} {short(error)}"
        ) from error


def _load(config: Path, weights: Path, image_size: int | None) -> Any:
    """The network with its weights. Built without values first, so that one of another size takes no memory."""
    state = read_tensors(weights)
    wanted = {name: tuple(value.shape) for name, value in _build(config, image_size, empty=True).state_dict().items()}
    came = {name: tuple(value.shape) for name, value in state.items()}
    shapes = {n: (came[n], wanted[n]) for n in came.keys() & wanted.keys() if came[n] != wanted[n]}
    what = f"the weights {weights} are not of this configuration, {config}"
    check_fit(what, wanted.keys() - came.keys(), came.keys() - wanted.keys(), shapes)
    net = _build(config, image_size)
    net.load_state_dict(state)
    return net
