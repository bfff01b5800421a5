"""Tracker `sam2`: SAM 2 (Ravi et al., arXiv 2408.00714) on Meta's own package, streaming.

Meta's video predictor loads every frame and keeps every output. Here its network (`SAM2Base.track_step`) is fed
frame by frame and remembers a window, with the same masks as the predictor gives.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from revseg.errors import InputError, MissingExtraError
from revseg.masks import MaskTrack
from revseg.registry import register
from revseg.trackers.streaming import Output, TrackPrompt, pick_device, pick_dtype, track
from revseg.types import Grounding
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
    (.pt or .safetensors), or a folder that holds one weights file and its yaml. `config` is a yaml file, or one of
    the package's own such as `configs/sam2.1/sam2.1_hiera_l.yaml`; it is found by itself for Meta's file names.
    `image_size` overrides the configuration's 1024 (a multiple of 32: smaller is faster). `dtype` is auto, float32,
    bfloat16 or float16; auto is bfloat16 on a GPU, float32 elsewhere. `compile` compiles the image encoder.

    The decoder falls back to several masks where one is not stable, and clicked masks are binarised before they are
    remembered: the settings of Meta's `build_sam2_video_predictor`. Its filling of holes of at most 8 low-resolution
    pixels needs a CUDA extension and is left out, as it is in Meta's own evaluation.
    Raises InputError when weights or configuration cannot be found or do not fit each other.
    """

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
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.net = _build(config, image_size)
        _load(self.net, weights)
        self.net.to(self.device).eval()
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
    path = Path(model).expanduser()
    if path.is_dir():
        weights = _only(path, _WEIGHTS)
        return (_config(config) if config else _only(path, (".yaml", ".yml"))), weights
    if path.is_file():
        of_file = {weights: name for name, weights in known.values()}
        if config is None and f"{path.stem}.pt" not in of_file:
            raise InputError(f"expected config=FILE.yaml with weights {model!r}, whose name is none of Meta's")
        return _config(config or of_file[f"{path.stem}.pt"]), path
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


def _only(folder: Path, suffixes: tuple[str, ...]) -> Path:
    found = sorted(p for p in folder.iterdir() if p.suffix in suffixes)
    if len(found) != 1:
        raise InputError(f"expected one {' or '.join(suffixes)} file in {folder}, got {[p.name for p in found]}")
    return found[0]


def _download(model: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, file))
    except OSError as error:  # the hub's errors are OSErrors, no connection among them
        raise InputError(
            f"cannot get {file} of {model} from the Hugging Face hub: {error}\n"
            "Download it where the hub can be reached, then pass the file or its folder: sam2:model=FOLDER"
        ) from error


def _build(config: Path, image_size: int | None) -> Any:
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    loaded = OmegaConf.load(config)
    if "model" not in loaded:
        raise InputError(f"expected a SAM 2 configuration with the key model in {config}")
    _check_targets(OmegaConf.to_container(loaded.model), config)
    settings = {
        "binarize_mask_from_pts_for_mem_enc": True,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }
    if image_size is not None:
        settings["image_size"] = image_size
    return instantiate(OmegaConf.merge(loaded.model, settings))


def _check_targets(node: Any, config: Path) -> None:
    """A configuration names classes to call: only SAM 2's own may be among them."""
    if isinstance(node, dict):
        target = node.get("_target_", "sam2.")
        if not str(target).startswith("sam2."):
            raise InputError(f"{config} would call {target!r}; only classes of the sam2 package are built")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_targets(child, config)


def _load(net: "torch.nn.Module", weights: Path) -> None:
    import torch
    from safetensors.torch import load_file

    if weights.suffix == ".safetensors":
        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = state.get("model", state)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"the weights {weights} are not of this configuration: {error}") from error
