"""The labels of vision tokens, and that the vision tower learns them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.policies.hf.policy import HFPolicy
from revseg.shapes.dataset import Shapes
from revseg.shapes.render import FORMS
from revseg.shapes.samples import all_objects
from revseg.shapes.scene import COLOURS
from revseg.shapes.small_model import build_model, build_processor
from revseg.shapes.token_labels import IGNORED, token_labels
from revseg.shapes.vision_heads import VisionHeads
from revseg.shapes.vision_pretraining import VisionPretrainingConfig, pretrain_vision

WORDS = (("red", "blue"), ("circle", "square"))


def test_labels_by_hand() -> None:
    """A blue square in the right column of a 2 x 2 grid, gone on the second of three frames; a speck of red circle."""
    masks = np.zeros((2, 3, 10, 20), bool)
    masks[0, [0, 2], 0:5, 10:20] = True
    masks[1, :, 9, 0] = True
    names = ["blue square", "red circle"]
    labels = token_labels(MaskTrack.from_dense(masks, names=names), (2, 2, 2), WORDS, (20, 40), 56).reshape(2, 2, 2, -1)
    box = [10, 0, 20, 5]  # in steps of two pixels of a picture of 20 x 40
    middle = [19, 6, 12]  # 75 and 25 % for the centre, 50 for the longer side, in steps of 4
    assert labels[0, 0, 1].tolist() == [1, 1, *box, *[29] * 4, *middle, *[26] * 3, 0, 0, 10]
    assert labels[1, 0, 1].tolist() == [1, 1, *box, *box, *middle, *middle, 2, 0, 10]  # an odd last frame is both
    assert labels[0, 1, 0].tolist() == [2, 2, *[IGNORED] * 14, 0, 5, 0]  # 2 % of a token is too little to count
    first = MaskTrack.from_dense(masks[:, :1], names=names)
    still = token_labels(first, (1, 2, 2), WORDS, (20, 40), 56, still=True)
    assert still[:, -3].tolist() == [IGNORED] * 4
    assert still[1].tolist() == [1, 1, *box, *box, *middle, *middle, IGNORED, 0, 10]


def tiny(folder: Path, text: str) -> HFPolicy:
    processor = build_processor([text] * 50, vocabulary=600)
    build_model(processor, hidden=64, layers=1, heads=2, vision_hidden=64, vision_depth=2).save_pretrained(folder)
    processor.save_pretrained(folder)
    return HFPolicy(str(folder))


def run(folder: Path, report: Callable[[dict[str, float]], None]) -> None:
    policy = tiny(folder / "start", " ".join(["", *COLOURS, *FORMS, "none"]))
    prompts = ("keyframe_terse:size=56", "box_terse:size=56")
    config = VisionPretrainingConfig(
        prompts, (tuple(COLOURS), tuple(FORMS)), steps=24, batch=4, warmup=1, adam_lr=0.03, num_frames=4, save_every=3
    )
    pretrain_vision(policy, Shapes(size=64), folder / "run", config, all_objects=all_objects, report=report)


@pytest.mark.slow
def test_a_tower_learns_what_its_tokens_show(tmp_path: Path) -> None:
    """Before against after; a run that was stopped goes on as if it had not been."""
    logs: list[dict[str, float]] = []
    run(tmp_path / "whole", logs.append)
    losses = [row["loss"] for row in logs]
    assert losses[-1] < 0.95 * losses[0]
    again: list[float] = []

    def stop_at_four(row: dict[str, float]) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt
        again.append(row["loss"])

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_at_four)
    del again[3:]  # the checkpoint is of three steps
    run(tmp_path / "stopped", lambda row: again.append(row["loss"]))
    assert again == losses


def test_words_have_to_be_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="token for each of red, blue"):
        VisionHeads(tiny(tmp_path, " red circle square none"), WORDS)
