"""Tracker `sam3_concept`: SAM 3 (arXiv 2511.16719) finds and tracks whatever a description names.

It needs no box. The masks equal those of transformers' `propagate_in_video_iterator`, but frames are read one at a
time, and of the model's outputs only those are kept that it can still read.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from revseg.devices import pick_device, pick_dtype
from revseg.masks import MaskTrack, encode
from revseg.registry import register
from revseg.trackers.hf_checkpoint import CONCEPTS, FirstUse, load_tracker_model
from revseg.trackers.prompts import objects_to_track
from revseg.types import Grounding
from revseg.video import Video

TOKENS = 32  # what SAM 3's text encoder reads


@register("tracker", "sam3_concept")
class Sam3ConceptTracker:
    """SAM 3's concept mode by transformers: starts from a grounding's description; boxes and points are ignored.

    The masks of an object are the union of all tracks that SAM 3 finds for its description, over the whole video:
    the grounding's frame plays no part. SAM 3 was trained on short noun phrases ("the red car"). Descriptions are cut
    at 32 tokens. The confidence of a mask is the lowest presence among its tracks; where no track is visible, it is 1
    minus the detector's threshold.
    `model` is `facebook/sam3` (gated: accept its licence first) or a folder of it. Other options as in `sam2_hf`.
    """

    prompts = frozenset({"text"})
    weights = ("model",)

    def __init__(
        self, model: str = "facebook/sam3", device: str = "auto", dtype: str = "auto", attention: str = "sdpa"
    ) -> None:
        import torch

        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        net, processor = load_tracker_model(model, CONCEPTS, dtype=self.dtype, attn_implementation=attention)
        self.net, self.processor = net.to(self.device).eval(), processor
        self.first_use = FirstUse(model)

    def __call__(self, video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        objects = objects_to_track(video, groundings, self.prompts)
        ids = np.arange(len(video))
        if not objects:
            return MaskTrack.empty(video.size, ids, objects=0)
        counts = [[b""] * len(video) for _ in objects]
        scores = np.zeros((len(objects), len(video)), np.float32)
        with self.first_use.guard():
            run = _Run(self, video, [item.name for item in objects])
        for found in run.frames():
            for row, (mask, score) in enumerate(found.objects):
                counts[row][found.frame_id], scores[row, found.frame_id] = encode(mask), score
        names = tuple(item.name for item in objects)
        return MaskTrack(tuple(tuple(row) for row in counts), video.size, ids, scores, names)


@dataclass(frozen=True)
class _Found:
    """The mask and the confidence of each description on one frame."""

    frame_id: int
    objects: list[tuple[Bool[np.ndarray, "h w"], float]]


class _OneFrame:
    """Stands for the frames of a session: it has the video's length, and holds the current frame only."""

    def __init__(self, length: int) -> None:
        self.length, self.frame_id, self.pixels = length, -1, None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, frame_id: int) -> Any:
        assert frame_id == self.frame_id, f"frame {frame_id} is not held"
        return self.pixels


class _Run:
    """One pass over a video with transformers' inference session."""

    def __init__(self, model: Sam3ConceptTracker, video: Video, descriptions: Sequence[str]) -> None:
        self.model, self.video = model, video
        self.session: Any = model.processor.init_video_session(inference_device=model.device, dtype=model.dtype)
        self.session.processed_frames = _OneFrame(len(video))
        self.prompt_ids = [self._add(text) for text in descriptions]
        config = model.net.config.tracker_config
        self.window = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        self.refreshed = config.max_cond_frame_num

    def frames(self) -> Iterator[_Found]:
        """What is found on each frame, in order. SAM 3 judges new tracks some frames later, so outputs lag behind."""
        waiting: deque[Any] = deque()
        for frame_id, frame in self.video.stream(range(len(self.video))):
            with self.model.first_use.guard():
                waiting.append(self._step(frame_id, frame))
            if len(waiting) >= self.model.net.hotstart_delay:
                yield self._shown(waiting.popleft())
        self.model.first_use.worked = True
        yield from map(self._shown, waiting)

    def _add(self, text: str) -> int:
        """The number of a description; not by the processor, which would pass on more tokens than the model reads."""
        number = self.session.add_prompt(text)
        tokens = self.model.processor.tokenizer(
            text, return_tensors="pt", padding="max_length", max_length=TOKENS, truncation=True
        ).to(self.model.device)
        self.session.prompt_input_ids[number] = tokens.input_ids
        self.session.prompt_attention_masks[number] = tokens.attention_mask
        return number

    def _step(self, frame_id: int, frame: UInt8[np.ndarray, "h w 3"]) -> Any:
        import torch

        model, held = self.model, self.session.processed_frames
        clip = torch.tensor(frame).permute(2, 0, 1)[None]
        pixels = model.processor.video_processor(videos=[clip], device=model.device, return_tensors="pt")
        held.frame_id, held.pixels = frame_id, pixels.pixel_values_videos[0][0].to(model.device, model.dtype)
        out = model.net(self.session, frame_idx=frame_id)
        self.session.hotstart_removed_obj_ids.update(out.removed_obj_ids)
        self._forget(frame_id)
        return out

    def _forget(self, frame_id: int) -> None:
        """Drop what the model cannot read any more."""
        session, oldest = self.session, frame_id - self.window
        for outputs in session.output_dict_per_obj.values():
            refreshed, tracked = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
            for old in [f for f in tracked if f < oldest]:
                del tracked[old]
            # Frames refreshed by a detection: the memory of the latest ones is read, the pointer (1 kB) of all.
            for old in sorted(refreshed)[: -self.refreshed] if self.refreshed > 0 else ():
                if old < oldest:
                    refreshed[old] = {"object_pointer": refreshed[old]["object_pointer"]}
            for output in (*refreshed.values(), *tracked.values()):
                output.pop("high_res_masks", None)  # by far the most bytes, and not read again
        for by_frame in (session.obj_id_to_tracker_score_frame_wise, session.suppressed_obj_ids):
            by_frame.clear()
        for frames in session.frames_tracked_per_obj.values():
            frames.clear()

    def _shown(self, out: Any) -> _Found:
        hidden = {*(out.suppressed_obj_ids or ()), *self.session.hotstart_removed_obj_ids}
        tracks = [i for i in out.obj_id_to_mask if i not in hidden]
        found = [
            self._united(out, [i for i in tracks if self.session.obj_id_to_prompt_id.get(i) == number])
            for number in self.prompt_ids
        ]
        return _Found(out.frame_idx, found)

    def _united(self, out: Any, tracks: Sequence[int]) -> tuple[Bool[np.ndarray, "h w"], float]:
        """The union of some tracks on one frame, and its confidence."""
        import torch
        import torch.nn.functional as F

        absent = np.zeros(self.video.size, bool), 1 - float(self.model.net.score_threshold_detection)
        if not tracks:
            return absent
        low = torch.stack([out.obj_id_to_mask[i] for i in tracks]).float()
        masks = F.interpolate(low, size=self.video.size, mode="bilinear", align_corners=False)[:, 0] > 0
        visible = masks.flatten(1).any(1).tolist()
        if not any(visible):
            return absent
        presence = [_number(out.obj_id_to_tracker_score.get(i, 0.0)) for i in tracks]
        return masks.any(0).cpu().numpy(), min(p for p, there in zip(presence, visible, strict=True) if there)


def _number(score: Any) -> float:
    """A track's presence in [0, 1]; transformers gives it as a number, or as a list of one."""
    return float(np.clip(np.ravel(score)[0], 0, 1))
