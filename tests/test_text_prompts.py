"""Text as a prompt: the policy `words`, and SAM 3's concept mode on a small random model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parts import built
from tiny_sam3 import HAS_SAM3, save_tiny_sam3

import revseg
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.trackers import sam3_concept
from revseg.types import Grounding
from revseg.video import Video

TEXTS = ("red square", "a dog")
LENGTH = 20
SIZE = (48, 64)


def video(length: int = LENGTH) -> Video:
    """A red square crosses a grey texture."""
    texture = np.random.default_rng(0).integers(40, 120, (*SIZE, 1), np.uint8)
    frames = np.repeat(np.broadcast_to(texture, (*SIZE, 3))[None], length, 0)
    for t in range(length):
        left = (3 * t) % (SIZE[1] - 15)
        frames[t, 10:25, left : left + 15] = (250, 40, 30)
    return Video("square", SIZE, 10.0, length, lambda ids: frames[ids])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not HAS_SAM3:
        pytest.skip("transformers is too old for SAM 3")
    where = tmp_path_factory.mktemp("sam3")
    save_tiny_sam3(where, seed=1)
    return where


def tracked(folder: Path, *groundings: Grounding, length: int = 8) -> MaskTrack:
    return built("tracker", f"sam3_concept:model={folder}")(video(length), groundings)


def both() -> list[Grounding]:
    return [Grounding(3, description=TEXTS[0]), Grounding(5, description=TEXTS[1], object_id=4)]


def transformers_masks(folder: Path) -> tuple[np.ndarray, Any]:
    """bool[2 t h w], the union of the objects of each text, and the session: as transformers' documentation does it."""
    from transformers import Sam3VideoModel, Sam3VideoProcessor

    model = Sam3VideoModel.from_pretrained(folder).eval()  # pyright: ignore[reportArgumentType]
    processor: Any = Sam3VideoProcessor.from_pretrained(folder)
    session = processor.init_video_session(video=video().read(range(LENGTH)))
    processor.add_text_prompt(session, list(TEXTS))
    masks = np.zeros((2, LENGTH, *SIZE), bool)
    for out in model.propagate_in_video_iterator(session):
        found = processor.postprocess_outputs(session, out)
        ids = found["object_ids"].tolist()
        for row, text in enumerate(TEXTS):
            for i in found["prompt_to_obj_ids"].get(text, ()):
                masks[row, out.frame_idx] |= found["masks"][ids.index(i)].numpy()
    return masks, session


def test_the_masks_are_those_of_transformers_on_the_whole_video(folder: Path) -> None:
    """Tracks are found, removed and refreshed along the way, so what is forgotten is nothing that was still read."""
    want, session = transformers_masks(folder)
    got = tracked(folder, *both(), length=LENGTH)
    np.testing.assert_array_equal(got.dense(), want)
    assert got.names == TEXTS
    assert len({counts for row in got.counts for counts in row}) > 20
    assert len(session.removed_obj_ids) > 5
    refreshed = max(len(outputs["cond_frame_outputs"]) for outputs in session.output_dict_per_obj.values())
    assert refreshed > 4  # more than are read with their memory


def test_confidences(folder: Path) -> None:
    """Where no track is shown: 1 minus the detector's threshold, which is 0.3. Elsewhere the lowest presence."""
    got = tracked(folder, *both(), length=14)
    np.testing.assert_allclose(got.scores[0, :10], 0.7)
    assert not got.select([0]).visible[:10].any()
    assert got.scores[1].min() >= 0
    assert got.scores.max() <= 1
    assert len(np.unique(got.scores[1])) > 4


def test_the_same_words_are_the_same_masks(folder: Path) -> None:
    got = tracked(folder, Grounding(0, description=TEXTS[1]), Grounding(7, description=TEXTS[1], object_id=1))
    assert got.objects == 2
    assert got.counts[0] == got.counts[1]
    assert got.select([0]).visible.all()


def test_a_box_plays_no_part_and_words_are_needed(folder: Path) -> None:
    box = np.array([[0.1, 0.1, 0.2, 0.2]], np.float32)
    assert tracked(folder, Grounding(3, box, description=TEXTS[1])).counts == tracked(folder, both()[1]).counts
    with pytest.raises(InputError, match="expected a description on frame 3, got a box"):
        tracked(folder, Grounding(3, box))


def test_a_long_description_is_cut(folder: Path) -> None:
    words = "the red dog " * 30
    assert len(tracked(folder, Grounding(0, description=words), length=2)) == 2


def test_half_precision_works(folder: Path) -> None:
    got = built("tracker", f"sam3_concept:model={folder},dtype=bfloat16")(video(6), both())
    assert (got.objects, len(got)) == (2, 6)


def test_what_is_kept_has_a_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame, and for each object a window of memories: checked after every frame."""
    sizes: list[tuple[int, int]] = []

    def step(self: Any, frame_id: int, frame: np.ndarray, original: Any = sam3_concept._Run._step) -> Any:
        out = original(self, frame_id, frame)
        memories = [
            sum("maskmem_features" in output for kind in outputs.values() for output in kind.values())
            for outputs in self.session.output_dict_per_obj.values()
        ]
        large = [
            value
            for outputs in self.session.output_dict_per_obj.values()
            for kind in outputs.values()
            for output in kind.values()
            for name, value in output.items()
            if name != "object_pointer" and isinstance(value, torch.Tensor)
        ]
        sizes.append((max(memories, default=0), sum(t.nbytes for t in large) // max(1, len(memories))))
        assert set(vars(self.session.processed_frames)) == {"length", "frame_id", "pixels"}
        assert not self.session.obj_id_to_tracker_score_frame_wise
        return out

    monkeypatch.setattr(sam3_concept._Run, "_step", step)
    built("tracker", f"sam3_concept:model={folder}")(video(30), both())
    memories, per_object = zip(*sizes, strict=True)
    assert max(memories) <= 4 + 1 + 4  # the window of this model, the current frame, and the refreshed ones
    assert max(per_object) <= 9 * per_object[0] > 0


def test_words_and_concepts_in_one_line(folder: Path) -> None:
    """The baseline without training: the question is what SAM 3 looks for."""
    model = revseg.ReVSeg(policy="words", tracker=f"sam3_concept:model={folder}")
    got = model.segment(video(8), TEXTS[1])
    assert got.status == "found"
    assert [(g.frame_id, g.description, len(g.boxes)) for g in got.rollout.groundings] == [(0, TEXTS[1], 0)]
    assert got.masks.counts == tracked(folder, both()[1]).counts
    assert len(got.rollout.turns) == 1
    assert got.rollout.form == 1.0


def test_words_with_the_papers_rounds_boxes_the_whole_picture() -> None:
    model = revseg.ReVSeg(policy="words", tracker="fill_box", plan="two_rounds", sampler="uniform", num_frames=4)
    got = model.segment(video(8), "  what is\n red? ")
    (grounding,) = got.rollout.groundings
    assert (grounding.frame_id, grounding.description, grounding.boxes.tolist()) == (0, "what is red?", [[0, 0, 1, 1]])
    assert got.masks.dense().all()


def test_words_without_a_place_is_refused_by_a_tracker_of_boxes() -> None:
    with pytest.raises(InputError, match="expected a box on frame 0, got a description"):
        revseg.ReVSeg(policy="words", tracker="fill_box").segment(video(), "the red square")
