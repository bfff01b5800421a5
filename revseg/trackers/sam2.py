"""Tracker `sam2`: SAM 2 (Ravi et al., arXiv 2408.00714) on Meta's own package, streaming.

Meta's video predictor loads all frames and keeps all outputs. Here its network (`SAM2Base.track_step`) gets one frame
at a time and keeps a window of outputs; the masks are the same.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from revseg.devices import pick_device, pick_dtype
from revseg.masks import MaskTrack
from revseg.masks.dense import to_pixels
from revseg.registry import register
from revseg.trackers.prompts import TrackPrompt
from revseg.trackers.sam2_network import find_files, load_network
from revseg.trackers.streaming import Output, check_memory, track
from revseg.types import Grounding
from revseg.video import Video

if TYPE_CHECKING:
    import torch

# of ImageNet, as in Meta's loader
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


@register("tracker", "sam2")
class Sam2Tracker:
    """SAM 2 by Meta's package (`pip install rf-sam-2`).

    `model` is a name on the Hugging Face hub that the package knows (`facebook/sam2.1-hiera-large`), a weights file
    (.pt or .safetensors), or a folder with weights and their yaml, such as a snapshot from the hub. In a folder,
    transformers' `model.safetensors` is ignored, and a .safetensors is preferred to the same weights as .pt.
    `config` is a yaml file, or one of the package's own such as `configs/sam2.1/sam2.1_hiera_l.yaml`; for Meta's file
    names it may be left out. Untrusted files are safe: from a yaml only SAM 2's classes are built, with plain values,
    and from a .pt only tensors are read.
    `image_size` overrides the configuration's 1024 (a multiple of 32; smaller is faster). `dtype` is auto, float32,
    bfloat16 or float16; auto is bfloat16 on a GPU, float32 elsewhere. `compile` compiles the image encoder.
    `memory` is "recent" or "trusted", see `revseg.trackers.trusted`.

    Settings are those of Meta's `build_sam2_video_predictor`: the decoder falls back to several masks where a single
    one is unstable, and masks from prompts are binarised before they enter the memory. Filling holes of up to 8
    low-resolution pixels needs a CUDA extension and is left out, as in Meta's own evaluation.
    Raises InputError when weights or configuration cannot be found or do not fit each other.
    """

    prompts = frozenset({"box", "point"})
    weights = ("model",)  # the option for a model's name, which the registry suggests

    def __init__(
        self,
        model: str = "facebook/sam2.1-hiera-large",
        config: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        image_size: int | None = None,
        memory: str = "recent",
    ) -> None:
        self.memory = check_memory(memory)
        self._model = _Sam2(*find_files(model, config), device, dtype, compile, image_size)

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        return track(self._model, video, groundings, self.prompts, self.memory)


class _Sam2:
    """Meta's network as a `VideoModel`."""

    def __init__(
        self, config: Path, weights: Path, device: str, dtype: str, compile: bool, image_size: int | None
    ) -> None:
        import torch

        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.net = load_network(config, weights, image_size).to(self.device).eval()
        if compile:
            self.net.image_encoder.compile()
        memories = self.net.num_maskmem * self.net.memory_temporal_stride_for_eval
        self.window = max(memories, self.net.max_obj_ptrs_in_encoder)

    def inference(self) -> AbstractContextManager[Any]:
        import torch

        contexts = ExitStack()
        contexts.enter_context(torch.inference_mode())
        contexts.enter_context(torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32))
        return contexts

    def encode(self, frame: UInt8[np.ndarray, "h w 3"]) -> tuple[Any, Any, Any]:
        """(features, position encodings, sizes) of the feature levels that `track_step` takes."""
        import torch
        from PIL import Image

        side = self.net.image_size
        resized = np.array(Image.fromarray(frame).resize((side, side)))
        # channels first, as in Meta's loader; arithmetic on rows of three channels would be slow
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
    """SAM 2's memory of one instance: the two dicts of outputs that Meta's package keeps."""

    def __init__(self, model: _Sam2, length: int) -> None:
        self.model = model
        self.length = length
        self.tracked: dict[int, Any] = {}
        self.prompted: dict[int, Any] = {}

    def prompt(self, features: Any, prompt: TrackPrompt) -> Output:
        import torch

        corners = np.zeros((0, 2), np.float32) if prompt.box is None else prompt.box.reshape(2, 2)
        labels = [2, 3] * (prompt.box is not None) + prompt.labels.astype(int).tolist()
        size = (self.model.net.image_size,) * 2
        points = to_pixels(np.concatenate([corners, prompt.points]), size).astype(np.float32)
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
        # in bfloat16, as Meta's predictor stores it; the high-resolution masks, by far the most bytes, are dropped
        kept = {"maskmem_features": out["maskmem_features"].to(torch.bfloat16)}
        kept |= {key: out[key] for key in ("maskmem_pos_enc", "obj_ptr")}
        (self.tracked if points is None else self.prompted)[frame_id] = kept
        return Output(out["pred_masks"][0, 0], presence)
