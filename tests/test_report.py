"""The reasoning page and the result folder: everything is there, nothing leaks out, nothing half-done stays."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from revseg.errors import OutputError
from revseg.masks import MaskTrack
from revseg.pipeline import ReVSeg, Segmentation
from revseg.report import reasoning_page
from revseg.report.conversation import split_thinking
from revseg.report.pictures import scene_colours
from revseg.report.reasoning import was_given
from revseg.report.saving import CHUNK
from revseg.serialise import versions
from revseg.testing import judged
from revseg.types import RewardBreakdown, Rollout
from revseg.video import Video

VOID = {"meta", "img", "br", "rect", "line", "polyline", "polygon", "ellipse"}


class Page(HTMLParser):
    """Checks that tags balance; collects visible text and every address that the page asks for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def scene(frames: int = 20) -> tuple[Video, MaskTrack]:
    pixels = np.full((frames, 24, 32, 3), 30, np.uint8)
    masks = np.zeros((frames, 24, 32), bool)
    for t in range(frames):
        masks[t, 4:12, t % 20 : t % 20 + 8] = True
    pixels[masks] = (250, 40, 40)
    return Video.open(pixels, fps=10), MaskTrack.from_dense(masks)


def segmented(*replies: str, tracker: str = "fill_box") -> tuple[Segmentation, Video, MaskTrack]:
    video, truth = scene()
    model = ReVSeg(policy={"name": "scripted", "replies": list(replies)}, tracker=tracker)
    return model.segment(video, "the square that leaves", truth), video, truth


GOOD = (
    '<think>It is <b>red</b></think><answer>[{"frame_idx": 3, "object description": "a <u>red</u> square"}]</answer>',
    '[{"bbox_2d": [105, 140, 315, 420]}]',
)


def test_the_page_tells_the_whole_chain():
    result, video, truth = segmented(*GOOD)
    html = reasoning_page(result, video, truth=truth, scores={"J&F": 0.93})
    page = Page(html)
    for words in (
        "the square that leaves",
        "It is <b>red</b>",
        "a <u>red</u> square",
        "0.93",
        "found",
        f"{result.rollout.groundings[0].frame_id} · key",
    ):
        assert words in page.text
    assert result.rollout.groundings[0].frame_id == 4
    assert "keyframe 3" not in page.text  # one kind of number: the source's
    assert "Frames are numbered from 0" in page.text
    assert "count the frames that it saw, 0 to 15" in page.text  # the model's own words do not follow
    assert "u" not in page.seen
    assert page.seen.count("img") == 16 + 1 + 8  # the frames it saw, the keyframe with its box, masks over time
    place = re.search(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" style', html)
    assert place is not None
    np.testing.assert_allclose([float(v) for v in place.groups()], [12.5, 16.67, 25, 33.33], atol=0.01)
    assert result.rewards is not None
    for name, value in result.rewards.values.items():
        assert re.search(rf'{name}</td><td class="bar">.*?width:{100 * value:.1f}%.*?>{value:.2f}<', html)


def test_the_page_of_a_box_claims_no_choice():
    video, _ = scene()
    model = ReVSeg(policy={"name": "given", "keyframe": 7, "box": [0.1, 0.1, 0.5, 0.5]}, tracker="fill_box")
    result = model.segment(video, "the red one")
    page = Page(reasoning_page(result, video))
    words_of_page = page.text.split("a box followed")[1]  # after the style
    for words in ("choose", "chose", "Thinking", "it saw", "Prompt", "keyframe 0", "keyframe 7"):
        assert words not in words_of_page
    for words in ("the user's own; no model was asked", "given", "frame 7", "frame 7 · keyframe"):
        assert words in page.text
    assert page.seen.count("img") == 1 + 8  # the box on its frame, masks over time


def test_a_given_policy_is_known_in_any_form_of_its_spec():
    result, _, _ = segmented(*GOOD)
    for policy in ("given:keyframe=1,box=[0,0,1,1]", {"name": "given"}):
        assert was_given(replace(result, spec={"policy": policy}))
    for policy in ("scripted", {"name": "scripted"}, None, {"object": "x"}):
        assert not was_given(replace(result, spec={"policy": policy}))
    assert not was_given(replace(result, spec={}))


def test_targets_that_are_one_object_have_one_colour():
    two = '[{"frame_idx": 1, "object description": "a"}, {"frame_idx": 9, "object description": "a"}]'
    result, video, _ = segmented(
        f"<think></think><answer>{two}</answer>", '[{"bbox_2d": [1, 1, 300, 300]}, {"bbox_2d": [400, 400, 800, 800]}]'
    )
    assert result.masks.objects == 1
    strokes = re.findall(r'style="stroke:(rgb[^"]*)"/>', reasoning_page(result, video))
    assert len(set(strokes)) == 1


def test_nothing_is_asked_of_the_network_and_what_the_model_wrote_is_text():
    wrote = '<think></think><script src="http://x.test/a.js"></script><img src=x onerror=alert(1)>'
    result, video, _ = segmented(wrote)
    page = Page(reasoning_page(result, video))
    assert "script" not in page.seen
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert '<script src="http://x.test/a.js">' in page.text


def test_a_failure_is_shown_by_its_name():
    result, video, _ = segmented("who knows")
    page = Page(reasoning_page(result, video))
    assert f"failed · {result.rollout.error}" in page.text
    assert "Round 2 did not take place" in page.text
    assert "who knows" in page.text
    absent, video, _ = segmented("<think></think><answer>[]</answer>")
    page = Page(reasoning_page(absent, video))
    assert "not in the video" in page.text
    assert "did not take place" not in page.text


@given(judged(), st.data())
@settings(max_examples=25)
def test_any_rollout_has_a_page(case: tuple[Rollout, MaskTrack], data: st.DataObject):
    rollout, truth = case
    count = int(rollout.clip.frame_ids.max()) + 1 + data.draw(st.integers(0, 3))
    frames = np.zeros((count, *rollout.clip.size, 3), np.uint8)
    masks = MaskTrack.empty(rollout.clip.size, range(count), objects=data.draw(st.integers(0, 3)))
    rewards = data.draw(st.none() | st.just(RewardBreakdown({"a<b": 0.5}, {"a<b": 2.0})))
    page = Page(reasoning_page(Segmentation(rollout, masks, rewards), Video.open(frames), truth=truth))
    words = "".join(page.text.split())
    for said in (rollout.query.text, *(turn.reply.text for turn in rollout.turns)):
        assert "".join(said.split()) in words
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert ("a<b" in page.text) == (rewards is not None)


@pytest.mark.parametrize(
    ("text", "thinking", "rest"),
    [
        ("<think>a</think><answer>b</answer>", "a", "b"),
        ("a</think>b", "a", "b"),
        ("b", "", "b"),
        ("<think>never ends", "never ends", ""),
        ("x<think>a</think>b", "a", "xb"),
    ],
)
def test_thinking_is_what_is_inside_the_tags(text: str, thinking: str, rest: str):
    assert split_thinking(text) == (thinking, rest)


def test_the_folder_holds_every_frame_and_can_be_read_back(tmp_path: Path):
    result, video, truth = segmented(*GOOD)
    out = result.save(tmp_path / "out", video, truth=truth)
    names = sorted(p.name for p in (out / "masks").iterdir())
    assert names == [f"{i:05d}.png" for i in range(20)]
    for i in (0, 19):
        held = np.array(Image.open(out / "masks" / names[i]))
        np.testing.assert_array_equal(held, result.masks.dense([i])[0, 0] * np.uint8(255))
    again = MaskTrack.from_dict(json.loads((out / "masks.json").read_text()))
    np.testing.assert_array_equal(again.dense(), result.masks.dense())
    overlay = Video.open(out / "overlay.mp4")
    assert (len(overlay), overlay.size, overlay.fps) == (20, (24, 32), 10)
    Page((out / "reasoning.html").read_text())
    record = json.loads((out / "reasoning.json").read_text())
    assert record["rounds"][0]["reply"] == GOOD[0]
    assert record["rounds"][0]["answer"]["targets"][0]["frame_id"] == result.rollout.clip.frame_ids[3]
    assert record["groundings"][0]["frame_id"] == result.rollout.groundings[0].frame_id
    assert result.rewards is not None
    assert record["rewards"]["total"] == result.rewards.total
    assert record["versions"] == versions()
    assert ReVSeg.from_dict(record["spec"]).segment(video, record["query"]["text"]).masks.counts == result.masks.counts


def test_several_objects_have_a_folder_each(tmp_path: Path):
    two = '[{"frame_idx": 1, "object description": "a"}, {"frame_idx": 2, "object description": "b"}]'
    result, video, _ = segmented(
        f"<think></think><answer>{two}</answer>", '[{"bbox_2d": [1, 1, 300, 300]}, {"bbox_2d": [400, 400, 800, 800]}]'
    )
    out = result.save(tmp_path / "out", video)
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["0", "1"]
    assert len(list((out / "masks" / "1").iterdir())) == 20
    assert Page((out / "reasoning.html").read_text()).text.count("· key") >= 4


def test_nothing_is_replaced_unasked_and_nothing_half_done_stays(tmp_path: Path):
    result, video, _ = segmented(*GOOD)
    out = result.save(tmp_path / "out", video)
    with pytest.raises(OutputError, match="exists"):
        result.save(out, video)
    result.save(out, video, overwrite=True)
    (out / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        result.save(out, video, overwrite=True)
    assert (out / "mine.txt").read_text() == "x"

    def broken(indices: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        result.save(tmp_path / "new", Video("v", video.size, 10, 20, broken))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_overlay_is_written_a_few_frames_at_a_time(tmp_path: Path, make_video: Callable[..., Path]):
    source = Video.open(make_video("long.mp4", 100))
    most = 0

    def read(indices: np.ndarray) -> np.ndarray:
        nonlocal most
        most = max(most, len(indices))
        return source.read(indices)

    video = Video(source.id, source.size, source.fps, len(source), read)
    result = ReVSeg(policy="random", tracker="fill_box").segment(source, "anything")
    result.save(tmp_path / "out", video)
    assert most <= CHUNK


def test_colours_heed_what_appears_only_where_there_is_no_mask():
    video, _ = scene()
    pixels = video.read(range(20)).copy()
    model = ReVSeg(policy={"name": "given", "keyframe": 0, "box": [0, 0.1, 0.5, 0.5]}, tracker="fill_box")
    first = scene_colours(model.segment(pixels, "it"), Video.open(pixels))[0]
    result = model.segment(pixels, "it")
    masks = result.masks.dense()
    masks[:, 10:] = False
    result = replace(result, masks=MaskTrack.from_dense(masks))
    pixels[12:, 14:24] = first  # a thing of that very colour, later
    assert scene_colours(result, Video.open(pixels))[0] != first
