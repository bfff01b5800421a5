"""Objects named as context: asked about, tracked and recorded, but no part of the masks or the rewards."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import revseg
from revseg import ReVSeg
from revseg.drawing import CONTEXT, overlay
from revseg.errors import InputError
from revseg.grounding import keyframe_and_box_json, keyframe_json, render
from revseg.serialise import record_of, rollout_from
from revseg.types import Answer, Clip, Target

CLIP = Clip(np.zeros((4, 40, 40, 3), np.uint8), np.array([0, 3, 6, 9]))
BOTH = (
    '<think></think><answer>[{"frame_idx": 0, "object description": "a dog", "bbox_2d": [0, 0, 10, 10], "id": 7},'
    ' {"frame_idx": 2, "object description": "its owner", "role": "context", "bbox_2d": [20, 20, 30, 40]}]</answer>'
)


def model(reply: str) -> ReVSeg:
    plan = [("keyframe_and_box:size=40", "keyframe_and_box_json")]
    return ReVSeg(policy={"name": "scripted", "replies": [reply]}, tracker="fill_box", plan=plan, num_frames=4)


def test_masks_and_rewards_are_of_the_target_alone():
    video = np.zeros((10, 40, 40, 3), np.uint8)
    alone = model(BOTH.replace(', "role": "context"', "")).segment(video, "the dog")
    result = model(BOTH).segment(video, "the dog")
    assert (alone.masks.objects, alone.context) == (2, None)
    assert result.context is not None
    assert (result.masks.objects, result.context.objects) == (1, 1)
    np.testing.assert_array_equal(result.masks.dense(), alone.masks.select([0]).dense())
    np.testing.assert_array_equal(result.context.dense(), alone.masks.select([1]).dense())
    rollout = result.rollout
    assert [t.description for t in rollout.targets] == ["a dog"]
    assert [t.description for t in rollout.chosen] == ["a dog"]
    assert [t.description for t in rollout.named] == ["a dog", "its owner"]
    assert [(g.frame_id, g.object_id) for g in (*rollout.groundings, *rollout.context)] == [(0, 0), (6, 1)]
    truth = result.masks.at(rollout.frame_ids)
    assert revseg.rewards.score(rollout, truth, {"iou": 1, "hungarian": 1}).values == {"iou": 1.0, "hungarian": 1.0}


def test_context_alone_is_no_target():
    reply = BOTH.replace('"id": 7', '"role": "Context"')
    rollout = model(reply).rollout(np.zeros((10, 40, 40, 3), np.uint8), "the dog")
    assert (rollout.status, rollout.targets, rollout.groundings, rollout.context) == ("absent", (), (), ())


def test_it_is_recorded_and_read_back():
    video = revseg.Video.open(np.zeros((10, 40, 40, 3), np.uint8))
    result = model(BOTH).segment(video, "the dog")
    record = record_of(result, video)
    assert [g["description"] for g in record["groundings"]] == ["a dog"]
    assert [g["description"] for g in record["context"]] == ["its owner"]
    back = rollout_from(record)
    assert [(t.role, t.object_id) for t in back.named] == [("target", 7), ("context", None)]
    assert record_of(revseg.Segmentation(back, result.masks, None, result.spec), video)["context"] == record["context"]


def test_per_object_asks_for_the_context_too():
    first = BOTH.replace(', "bbox_2d": [0, 0, 10, 10]', "").replace(', "bbox_2d": [20, 20, 30, 40]', "")
    replies = [first, '[{"bbox_2d": [0, 0, 10, 10]}]', '[{"bbox_2d": [20, 20, 30, 40]}]']
    plan = {"name": "per_object", "keyframe": ["keyframe:size=40", "keyframe_json"], "box": ["box:size=40", "box_json"]}
    asked = ReVSeg(policy={"name": "scripted", "replies": replies}, tracker="fill_box", plan=plan, num_frames=4)
    rollout = asked.rollout(np.zeros((10, 40, 40, 3), np.uint8), "the dog")
    assert (rollout.status, len(rollout.turns)) == ("found", 3)
    assert "its owner" in rollout.turns[2].prompt.text
    assert (len(rollout.groundings), len(rollout.context)) == (1, 1)


@given(st.sampled_from(["context", "target", "CONTEXT ", 3, None, ["context"]]), st.sampled_from([0, 12, "5", -1, 2.5]))
def test_fields_that_are_no_role_or_number_are_passed_over(role, number):
    item = {"frame_idx": 1, "object description": "x", "role": role, "id": number}
    answer = keyframe_json(f"<think></think><answer>{json.dumps([item])}</answer>", CLIP)
    assert answer.error is None
    assert answer.targets[0].role == ("context" if str(role).strip().lower() == "context" else "target")
    assert answer.targets[0].object_id == {0: 0, 12: 12, "5": 5}.get(number)


def test_a_canonical_reply_says_both():
    target = Target(3, "a dog", np.array([[0, 0, 0.5, 0.5]], np.float32), object_id=4, role="context")
    text = render(Answer((target,)), CLIP, kind="keyframe_and_box_json")
    read = keyframe_and_box_json(text, CLIP).targets[0]
    assert (read.object_id, read.role) == (4, "context")


def test_it_is_shown_and_saved_apart_from_the_answer(tmp_path):
    video = revseg.Video.open(np.full((10, 80, 80, 3), 120, np.uint8))
    result = model(BOTH).segment(video, "the dog")
    folder = result.save(tmp_path / "out", video)
    assert result.context is not None
    assert json.loads((folder / "context.json").read_text()) == result.context.to_dict()
    assert json.loads((folder / "masks.json").read_text()) == result.masks.to_dict()
    assert not (folder / "masks" / "1").exists()
    assert (folder / "reasoning.html").read_text().count("context, no part of the masks") == 1
    one = model(BOTH.replace(', "role": "context"', "")).segment(video, "the dog").save(tmp_path / "two", video)
    assert not (one / "context.json").exists()


def test_context_is_outlined_in_grey_and_dimmed():
    frame = np.full((120, 120, 3), 200, np.uint8)
    masks, other = np.zeros((2, 1, 120, 120), bool)
    masks[0, 10:50, 10:50] = other[0, 70:110, 70:110] = True
    plain, shown = overlay(frame, masks), overlay(frame, masks, context=other)
    changed = (plain != shown).any(-1)
    assert changed[66:114, 66:114].sum() == changed.sum() > 100
    assert (shown[70, 75:105] == CONTEXT).all()
    assert (shown[90, 90] == plain[90, 90]).all()  # inside as dim as around
    with pytest.raises(InputError, match="expected masks"):
        overlay(frame, masks, context=other[:, :50])
