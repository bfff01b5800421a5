"""The data filter: which videos a tracker agrees with, and that it is asked about every frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from revseg.errors import InputError, PartError
from revseg.masks import MaskTrack
from revseg.registry import build
from revseg.testing.squares import moving_squares
from revseg.trackers.fill_box import fill_box
from revseg.training.data_filter import filter_videos
from revseg.types import Grounding, Query, Sample
from revseg.video import Video


def sample(video: Video, truth: MaskTrack | None, query: str = "q") -> Sample:
    return Sample(video, Query(query, "what moves"), truth)


def squares(objects: int = 1) -> Sample:
    scene = moving_squares(5, (40, 40), objects)
    return sample(scene.video, scene.truth)


def half() -> Sample:
    """Two frames, a full square and a triangle-like mask that fills half of its box: fill_box scores 1 and 0.5."""
    masks = np.zeros((1, 2, 8, 8), bool)
    masks[0, 0, 2:6, 2:6] = True
    masks[0, 1, 2:4, 2:6] = masks[0, 1, 2:6, 2:3] = True
    masks[0, 1, 4:6, 2:3] = False
    masks[0, 1, 5, 2] = True
    video = Video("half", (8, 8), 1.0, 2, lambda indices: np.zeros((len(indices), 8, 8, 3), np.uint8))
    return sample(video, MaskTrack.from_dense(masks))


@pytest.mark.parametrize("whole", [False, True])
def test_by_hand(whole: bool):
    """Frame 1's box of 16 pixels holds 9 of the mask: mean (1 + 9/16) / 2."""
    found = filter_videos([half(), squares()], "fill_box", threshold=0.8, whole=whole)
    assert found.scores == {"half": pytest.approx((1 + 9 / 16) / 2), squares().video.id: 1.0}
    assert found.kept == (squares().video.id,)
    assert found.indices == (1,)
    assert str(found) == "1 videos kept, with 1 queries"


def test_all_queries_of_a_bad_video_go():
    bad = half()
    second = sample(bad.video, bad.truth, "another")
    found = filter_videos([bad, squares(), second], "fill_box", threshold=0.8)
    assert found.indices == (1,)
    assert filter_videos([bad, squares(), second], "fill_box", threshold=0.7).indices == (0, 1, 2)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("tracker", ["oracle", "flow", "fill_box"])
def test_on_shapes(tracker: str, whole: bool):
    """Two videos of rectangles in plain sight pass; in the third one target covers another, which boxes do not tell."""
    data = build("dataset", "shapes:size=3,frames=6,height=48,width=48,seed=1")
    found = filter_videos(data, tracker, threshold=0.95, whole=whole)
    assert found.indices == (0, 1), found.scores
    assert 0 < found.scores[data[2].video.id] < 0.95


def test_every_visible_frame_is_prompted_once():
    """An object that two queries ask for is judged once; frames that hide it are not prompted; one frame is read."""
    scene = squares(2)
    assert scene.truth is not None
    hidden = scene.truth.dense()
    hidden[1, 3] = False
    truth = MaskTrack.from_dense(hidden)
    calls: list[tuple[int, int]] = []

    def watch(video: Video, groundings: Sequence[Grounding]) -> MaskTrack:
        calls.append((len(video), len(groundings)))
        return fill_box(video, groundings)

    data = [sample(scene.video, truth, "both"), sample(scene.video, truth.select([0]), "one")]
    filter_videos(data, watch)
    assert calls == [(1, 2), (1, 2), (1, 2), (1, 1), (1, 2)]
    calls.clear()
    filter_videos(data, watch, whole=True)
    assert calls == [(5, 9)]


def test_a_target_that_is_never_there_says_nothing():
    scene = squares()
    found = filter_videos([sample(scene.video, MaskTrack.empty((40, 40), range(5)))], "fill_box")
    assert found.scores == {}
    assert found.indices == (0,)


def test_errors():
    with pytest.raises(InputError, match="'q' has no truth"):
        filter_videos([sample(squares().video, None)], "fill_box")
    with pytest.raises(InputError, match="threshold"):
        filter_videos([], "fill_box", threshold=60)

    def none(video: Video, groundings: Any) -> MaskTrack:
        return MaskTrack.empty(video.size, range(len(video)), objects=0)

    with pytest.raises(PartError, match="expected 1 objects"):
        filter_videos([squares()], none)
