"""The paper's configuration, unchanged but for where the weights lie: tiny random Qwen2.5-VL and SAM 2 in folders."""

from pathlib import Path

import numpy as np
import pytest
from tiny_qwen import save_tiny_qwen
from tiny_sam2 import save_tiny_sam2

from revseg.grounding.parsers import box_json, keyframe_json
from revseg.pipeline import ReVSeg
from revseg.types import Answer, Clip, Sampling
from revseg.video import Video

FIRST = '<think>x</think><answer>[{"frame_idx": 5, "object description": "red circle"}]</answer>'
SECOND = '```json\n[{"bbox_2d": [84, 168, 420, 504], "label": "red circle"}]\n```'
FRAMES = np.random.default_rng(1).integers(0, 256, (24, 90, 120, 3), np.uint8)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> ReVSeg:
    folder = tmp_path_factory.mktemp("weights")
    save_tiny_sam2(folder / "sam2")
    policy = save_tiny_qwen(folder / "qwen")
    sampling = Sampling(max_new_tokens=12)
    return ReVSeg.paper().replace(
        policy=f"qwen:model={policy}", tracker=f"sam2:model={folder / 'sam2'}", sampling=sampling
    )


def test_runs_unchanged(paper: ReVSeg, tmp_path: Path) -> None:
    """Random weights cannot answer: a typed failure and empty masks, written like any result."""
    result = paper.segment(FRAMES, "the runner most likely to win")
    assert result.rollout.error is not None
    assert result.rollout.error.startswith("round 1: no_")
    assert result.rollout.turns[0].prompt.clips[0].frames.shape == (16, 448, 448, 3)
    assert len(result.rollout.turns[0].reply.token_ids) > 0
    assert not result.masks.visible.any()
    folder = result.save(tmp_path / "out", Video.open(FRAMES))
    assert len(list((folder / "masks").glob("*.png"))) == 24


def test_both_rounds_and_the_tracker(paper: ReVSeg) -> None:
    """What comes after a good answer: the model still talks, its words are replaced before they are parsed."""

    def first(text: str, shown: Clip) -> Answer:
        return keyframe_json(FIRST, shown)

    def second(text: str, shown: Clip) -> Answer:
        return box_json(SECOND, shown)

    model = paper.replace(plan=[("keyframe:size=448", first), ("box:size=840", second)])
    result = model.segment(FRAMES, "the runner most likely to win")
    rollout = result.rollout
    assert rollout.error is None
    assert rollout.turns[1].prompt.clips[0].frames.shape == (1, 840, 840, 3)
    (grounding,) = rollout.groundings
    assert grounding.frame_id == rollout.clip.frame_ids[5] == 8  # 5 * 23 / 15 = 7.67 of the source's 24 frames
    assert grounding.boxes == pytest.approx(np.array([[0.1, 0.2, 0.5, 0.6]]))  # pixels of 840, not of 448 or the source
    assert result.masks.frame_ids.tolist() == list(range(24))
    assert result.masks.size == (90, 120)
    assert result.masks.objects == 1


def test_record_builds_the_same_model(paper: ReVSeg) -> None:
    again = ReVSeg.from_dict(paper.to_dict())
    assert again == paper
    assert again.resolved() == paper, "the paper's configuration leaves nothing to defaults"
