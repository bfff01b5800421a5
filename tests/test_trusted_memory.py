"""`memory="trusted"`: which frames a tracker looks back on, by hand; with every frame trusted, as `recent`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sam2 import save_tiny_sam2, save_tiny_sam2_hf
from tiny_sam3 import HAS_SAM3, save_tiny_edgetam, save_tiny_sam3

import revseg
from revseg.errors import InputError
from revseg.trackers import trusted as trusted_module
from revseg.trackers.prompts import TrackPrompt
from revseg.trackers.streaming import Output, track
from revseg.trackers.trusted import TrustedFrames
from revseg.types import Grounding
from revseg.video import Video

BOX = np.array([[0.25, 0.2, 0.5, 0.55]], np.float32)
SAVE: dict[str, Callable[[Path], None]] = {
    "sam2": save_tiny_sam2,
    "sam2_hf": save_tiny_sam2_hf,
    **({"sam3": save_tiny_sam3} if HAS_SAM3 else {}),
    "edgetam": save_tiny_edgetam,
}


def video(length: int) -> Video:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (length, 48, 64, 3), np.uint8)
    return Video("noise", (48, 64), 10.0, length, lambda ids: frames[ids])


class Recorder:
    """A `VideoModel` and its one instance: `presence` per frame is given, what it could look back on is recorded."""

    def __init__(self, presence: list[float], window: int, empty: tuple[int, ...] = ()) -> None:
        self.presence, self.window, self.empty = presence, window, empty
        self.tracked: dict[int, Any] = {}
        self.seen: dict[int, dict[int, int]] = {}  # frame -> {number looked up: frame whose output is there}

    def encode(self, frame: np.ndarray) -> None:
        return None

    def start(self, video: Video) -> "Recorder":
        return self

    def prompt(self, features: Any, prompt: TrackPrompt) -> Output:
        return Output(torch.ones(4, 4), self.presence[prompt.frame_id])

    def track(self, features: Any, frame_id: int, reverse: bool) -> Output:
        sign = 1 if reverse else -1
        numbers = [frame_id + sign * i for i in range(1, self.window + 1)]
        self.seen[frame_id] = {n: self.tracked[n] for n in numbers if n in self.tracked}
        self.tracked[frame_id] = frame_id
        return Output(torch.full((4, 4), -1.0 if frame_id in self.empty else 1.0), self.presence[frame_id])


def recorded(model: Recorder, memory: str, prompted: tuple[int, ...] = (2,)) -> dict[int, dict[int, int]]:
    groundings = [Grounding(f, BOX) for f in prompted]
    track(model, video(len(model.presence)), groundings, frozenset({"box"}), memory)
    return model.seen


def test_unsure_frames_are_passed_over() -> None:
    """Prompt on frame 2, window 3, frames 4, 5 and 1 unsure. The prompt keeps its place in the order."""
    seen = recorded(Recorder([0.9, 0.2, 0.9, 0.9, 0.1, 0.49, 0.5, 0.9], 3), "trusted")
    assert seen == {
        3: {},  # place 1 is the prompt's
        4: {3: 3},  # then the prompt
        5: {4: 3},  # frame 4 is unsure: 3 is the nearest, under the number just before
        6: {5: 3},  # 4 and 5 unsure; the prompt at place 2
        7: {6: 6, 5: 3},  # 0.5 is enough
        1: {3: 3, 4: 6},  # backward: prompt at place 1, then 3, then 6
        0: {2: 3, 3: 6},  # place 1 is still the prompt, as frame 1 is unsure
    }


def test_recent_memory_reads_the_frames_just_before() -> None:
    seen = recorded(Recorder([0.9, 0.2, 0.9, 0.9, 0.1, 0.49, 0.5, 0.9], 3), "recent")
    assert seen[7] == {6: 6, 5: 5, 4: 4}
    assert seen[0] == {1: 1, 3: 3}


def test_an_empty_mask_is_not_trusted() -> None:
    seen = recorded(Recorder([0.9] * 6, 3, empty=(3,)), "trusted", (1,))
    assert seen[5] == {4: 4, 3: 2}


def test_several_prompts_keep_their_places() -> None:
    seen = recorded(Recorder([0.9] * 8, 3), "trusted", (2, 5))
    assert seen[7] == {6: 6, 4: 4}
    assert seen[1] == {3: 3, 4: 4}  # place 1 is the prompt on 2


def test_what_is_kept_has_a_limit() -> None:
    frames, tracked = TrustedFrames([10], window=3), {}
    for frame_id in range(11, 60):
        frames.choose(tracked, frame_id, reverse=False)
        assert len(tracked) <= 3
        tracked[frame_id] = frame_id
        frames.add(tracked, frame_id, presence=1.0, empty=False)
        assert len(frames.outputs) <= 6
    assert sorted(frames.outputs) == [11, 12, 13, 57, 58, 59]
    for frame_id in range(9, -1, -1):
        frames.choose(tracked, frame_id, reverse=True)
        tracked[frame_id] = frame_id
        frames.add(tracked, frame_id, presence=0.0, empty=False)
    frames.choose(tracked, 3, reverse=True)
    assert tracked == {5: 11, 6: 12}  # the prompt at place 1


@pytest.mark.parametrize("name", SAVE)
def test_with_every_frame_trusted_the_masks_are_those_of_the_recent_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SAVE[name](tmp_path)
    groundings = [Grounding(9, BOX), Grounding(5, BOX)]
    plain = revseg.build("tracker", f"{name}:model={tmp_path}")
    chosen = revseg.build("tracker", f"{name}:model={tmp_path},memory=trusted")
    with monkeypatch.context() as patch:
        patch.setattr(trusted_module, "trusted", lambda presence, empty: True)
        assert chosen(video(14), groundings).counts == plain(video(14), groundings).counts
        patch.setattr(trusted_module, "trusted", lambda presence, empty: False)
        assert chosen(video(14), groundings).counts != plain(video(14), groundings).counts


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(InputError, match="expected memory=recent or trusted, got 'long'"):
        revseg.build("tracker", "sam2_hf:memory=long")
