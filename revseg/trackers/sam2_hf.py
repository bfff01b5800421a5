"""Trackers `sam2_hf`, `sam3` and `edgetam`: promptable video models on transformers' ports, streaming.

SAM 2 (Ravi et al., arXiv 2408.00714), the tracker of SAM 3 (arXiv 2511.16719) and EdgeTAM (arXiv 2501.07256) share
their interface in transformers, so they share this adapter. The checkpoint's model type says which of them it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from revseg.devices import pick_device, pick_dtype
from revseg.masks import MaskTrack
from revseg.masks.dense import to_pixels
from revseg.registry import register
from revseg.trackers.hf_checkpoint import FirstUse, load_tracker_model
from revseg.trackers.prompts import TrackPrompt
from revseg.trackers.streaming import Output, check_memory, track
from revseg.types import Grounding
from revseg.video import Video


@register("tracker", "sam2_hf")
class Sam2HfTracker:
    """SAM 2 by transformers; also reads checkpoints of SAM 3 and EdgeTAM.

    `model` is a hub name such as `facebook/sam2.1-hiera-large`, or a folder into which the model and its processor were
    saved with `save_pretrained`. `dtype` is auto, float32, bfloat16 or float16; auto is bfloat16 on a GPU, float32
    elsewhere. `attention` is transformers' `attn_implementation`. `compile` compiles the image encoder. `memory` is
    "recent" or "trusted", see `revseg.trackers.trusted`.
    Raises InputError when the model cannot be found or loaded.
    """

    prompts = frozenset({"box", "point"})
    weights = ("model",)

    def __init__(
        self,
        model: str = "facebook/sam2.1-hiera-large",
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        attention: str = "sdpa",
        memory: str = "recent",
    ) -> None:
        self.memory = check_memory(memory)
        self._model = _Sam2Hf(model, device, dtype, compile, attention)

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        return track(self._model, video, groundings, self.prompts, self.memory)


@register("tracker", "sam3")
class Sam3Tracker(Sam2HfTracker):
    """The tracker of SAM 3 by transformers. The options are those of `sam2_hf`.

    `facebook/sam3` is gated: accept its licence on its page first. SAM 3.1 is another network, and is refused.
    """

    def __init__(
        self,
        model: str = "facebook/sam3",
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        attention: str = "sdpa",
        memory: str = "recent",
    ) -> None:
        super().__init__(model, device, dtype, compile, attention, memory)


@register("tracker", "edgetam")
class EdgeTamTracker(Sam2HfTracker):
    """EdgeTAM, a small SAM 2, by transformers. The options are those of `sam2_hf`.

    The released checkpoint needs the package timm: `pip install 'revseg[edgetam]'`.
    """

    def __init__(
        self,
        model: str = "yonigozlan/EdgeTAM-hf",
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        attention: str = "sdpa",
        memory: str = "recent",
    ) -> None:
        super().__init__(model, device, dtype, compile, attention, memory)


class _Sam2Hf:
    """transformers' network and processor as a `VideoModel`."""

    def __init__(self, model: str, device: str, dtype: str, compile: bool, attention: str) -> None:
        import torch

        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        net, processor = load_tracker_model(model, dtype=self.dtype, attn_implementation=attention)
        self.processor: Any = processor
        self.net = net.to(self.device).eval()
        if compile:
            self.net.vision_encoder.compile()
        self.first_use = FirstUse(model)
        with self.first_use.guard():
            self.window = max(self.net.num_maskmem, self.net.config.max_object_pointers_in_encoder)

    def encode(self, frame: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        import torch

        clip = torch.tensor(frame).permute(2, 0, 1)[None]  # one frame, channels first
        with self.first_use.guard(), torch.inference_mode():
            pixels = self.processor.video_processor(videos=[clip], device=self.device, return_tensors="pt")
            out = self.net.get_image_features(pixels.pixel_values_videos[0].to(self.device, self.dtype))
        return {"vision_feats": out.fpn_hidden_states, "vision_pos_embeds": out.fpn_position_encoding}

    def start(self, video: Video) -> "_Instance":
        return _Instance(self, video)


class _Instance:
    """Memory of one instance: transformers' inference session with one object."""

    def __init__(self, model: _Sam2Hf, video: Video) -> None:
        self.model = model
        self.size = video.size
        self.session: Any = model.processor.init_video_session(inference_device=model.device, dtype=model.dtype)
        # Features come from `encode`, so the session needs only the number of frames, not the frames.
        self.session.processed_frames = range(len(video))
        self.session.obj_id_to_idx(0)
        self.tracked: dict[int, Any] = self.session.output_dict_per_obj[0]["non_cond_frame_outputs"]

    def prompt(self, features: Any, prompt: TrackPrompt) -> Output:
        box = None if prompt.box is None else [[to_pixels(prompt.box, self.size).astype(np.float32).tolist()]]
        points = [[to_pixels(prompt.points, self.size).astype(np.float32).tolist()]] if len(prompt.points) else None
        labels = [[prompt.labels.astype(int).tolist()]] if len(prompt.points) else None
        with self.model.first_use.guard():
            self.model.processor.add_inputs_to_inference_session(
                self.session,
                frame_idx=prompt.frame_id,
                obj_ids=0,
                input_boxes=box,
                input_points=points,
                input_labels=labels,
                original_size=self.size,
            )
            return self._step(features, prompt.frame_id, reverse=False)

    def track(self, features: Any, frame_id: int, reverse: bool) -> Output:
        with self.model.first_use.guard():
            out = self._step(features, frame_id, reverse=reverse)
        self.model.first_use.worked = True
        return out

    def _step(self, features: Any, frame_id: int, *, reverse: bool) -> Output:
        self.session.cache.clear_all()
        self.session.cache.cache_vision_features(frame_id, features)
        out = self.model.net(self.session, frame_idx=frame_id, reverse=reverse)
        for outputs in self.session.output_dict_per_obj[0].values():
            outputs.get(frame_id, {}).pop("high_res_masks", None)  # by far the most bytes, and not read again
        self.session.frames_tracked_per_obj[0].clear()  # grows per frame; read only when a tracked frame is prompted
        return Output(out.pred_masks[0, 0], float(out.object_score_logits.float().sigmoid()))
