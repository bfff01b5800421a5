import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revseg.errors import SpecError
from revseg.registry import build, names, options_of, registry
from revseg.rollout.pictures import resize
from revseg.testing import clips, queries
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Target, Turn


def start(frames=16, size=(30, 40), text="Who {wins}?"):
    pictures = np.random.default_rng(0).integers(0, 256, (frames, *size, 3)).astype(np.uint8)
    return Rollout(Clip(pictures, np.arange(frames) * 10), Query("q", text))


def after_round_one(*targets, **options):
    rollout = start(**options)
    answer = Answer(tuple(Target(10 * k, d) for k, d in targets))
    turn = Turn(Message("user", (rollout.clip, "?")), Reply("!"), answer, rollout.clip)
    return Rollout(rollout.clip, rollout.query, turns=(turn,))


def test_keyframe_holds_what_the_paper_says():
    message = build("prompt", "keyframe")(start())
    assert message.role == "user"
    (clip,) = message.clips
    assert message.parts[0] is clip
    assert (len(clip), clip.size, clip.frame_ids[1]) == (16, (448, 448), 10)
    for part in ("8 seconds", "16 frames", "0 to 15", "Who {wins}?", "<think></think>", "<answer></answer>"):
        assert part in message.text
    assert '<answer>[{"frame_idx": 0, "object description": "a short description"}]</answer>' in message.text
    assert "7.5 seconds" in build("prompt", "keyframe:fps=2.0,size=28")(start(frames=15)).text


def test_box_shows_the_keyframe_at_full_detail():
    rollout = after_round_one((3, "the {red} ball"))
    message = build("prompt", "box")(rollout)
    (picture,) = message.clips
    assert (picture.size, picture.frame_ids.tolist()) == ((840, 840), [30])
    np.testing.assert_array_equal(picture.frames, resize(rollout.clip.pick(3), 840).frames)
    assert "the {red} ball" in message.text
    assert "bbox_2d" in message.text
    assert "Who" not in message.text  # the question stands in the first round, which stays in context


def test_box_with_several_targets_shows_each_keyframe_once():
    rollout = after_round_one((5, "a cat"), (2, "a dog"), (5, "a cow"))
    message = build("prompt", "box:size=56")(rollout)
    assert [clip.frame_ids.tolist() for clip in message.clips] == [[50], [20]]
    assert "1. a cat (picture 1)\n2. a dog (picture 2)\n3. a cow (picture 1)" in message.text


def test_both_at_once():
    message = build("prompt", "keyframe_and_box:size=[28, 56]")(start())
    assert message.clips[0].size == (28, 56)
    assert '"object description": "a short description", "bbox_2d": [x1, y1, x2, y2]}]</answer>' in message.text


def test_terse_twins():
    assert build("prompt", "keyframe_terse")(start()).parts[1:] == (" Who {wins}?",)
    assert build("prompt", "keyframe_and_box_terse")(start()).parts[1:] == (" both Who {wins}?",)
    message = build("prompt", "box_terse:size=28")(after_round_one((5, "a cat"), (2, "a dog")))
    assert message.parts[2:] == (" a cat; a dog",)
    assert [part.size for part in message.clips] == [(28, 28), (28, 28)]
    assert build("prompt", "keyframe_terse")(start()).clips[0].size == (112, 112)


@pytest.mark.parametrize("name", [n for n in names("prompt") if n.startswith("box")])
def test_box_prompts_need_a_keyframe(name):
    with pytest.raises(SpecError, match="keyframe"):
        build("prompt", name)(start())


@pytest.mark.parametrize("name", [n for n in names("prompt") if n != "template"])
@given(st.data())
def test_any_rollout_with_a_keyframe_can_be_asked(name, data):
    clip, query = data.draw(clips()), data.draw(queries())
    keyframe = data.draw(st.sampled_from(clip.frame_ids.tolist()))
    turn = Turn(Message("user", (clip,)), Reply(""), Answer((Target(keyframe, query.text),)), clip)
    sized = "size" in options_of(registry("prompt").get(name))
    message = build("prompt", f"{name}:size=14" if sized else name)(Rollout(clip, query, turns=(turn,)))
    assert all(shown.size == (14, 14) for shown in message.clips)
    assert query.text in message.text
    assert "{{" not in message.text.replace(query.text, "")


def test_resize_keeps_what_fits_and_does_not_keep_the_aspect_ratio():
    clip = start().clip
    assert resize(clip, (30, 40)) is clip
    assert resize(clip, 28).frames.shape == (16, 28, 28, 3)
    half = np.zeros((1, 4, 8, 3), np.uint8)
    half[:, :, 4:] = 200
    small = resize(Clip(half, np.zeros(1, np.int64)), (2, 4)).frames[0, :, :, 0]
    assert (small[:, 0] < 20).all()
    assert (small[:, 3] > 180).all()
    with pytest.raises(SpecError, match="height, width"):
        resize(clip, 0)


def test_template(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text('{question} in {frames} frames, {seconds} s: [{"frame_idx": 0}] {}', encoding="utf-8")
    message = build("prompt", {"name": "template", "path": str(path)})(start(text="{frames} ü?"))
    assert message.text == '{frames} ü? in 16 frames, 8 s: [{"frame_idx": 0}] {}'
    assert message.clips[0].size == (448, 448)
    path.write_text("Box of {description}.")
    spec = {"name": "template", "path": str(path), "show": "keyframe"}
    message = build("prompt", spec)(after_round_one((3, "a cat"), (4, "a dog")))
    assert message.text == "Box of a cat; a dog."
    assert [clip.size for clip in message.clips] == [(840, 840), (840, 840)]
    assert build("prompt", f"template:path={path},size=28")(after_round_one((3, "a cat"))).clips[0].size == (28, 28)


def test_template_mistakes(tmp_path):
    path = tmp_path / "mine.txt"
    with pytest.raises(SpecError, match=r"cannot read .*mine\.txt"):
        build("prompt", f"template:path={path}")(start())
    path.write_text("{quesiton}")
    with pytest.raises(SpecError, match=r"\{quesiton\}.*\{question\}"):
        build("prompt", f"template:path={path}")(start())
    path.write_text("{description}")
    with pytest.raises(SpecError, match=r"\{description\}, which is not known in this round"):
        build("prompt", f"template:path={path}")(start())
    with pytest.raises(SpecError, match="clip or keyframe"):
        build("prompt", f"template:path={path},show=all")(start())


def test_ruler_by_hand():
    """Rows that start a tile tell the time, columns the place; all other pixels are the picture's."""
    rollout = start(frames=4)
    for name in ("keyframe_terse", "keyframe_and_box_terse"):
        (plain,) = build("prompt", f"{name}:size=56")(rollout).clips
        (ruled,) = build("prompt", f"{name}:size=56,ruler=14")(rollout).clips
        assert ruled.frame_ids.tolist() == plain.frame_ids.tolist()
        inside = np.arange(56) % 14 > 0
        assert np.array_equal(ruled.frames[:, inside][:, :, inside], plain.frames[:, inside][:, :, inside])
        assert (ruled.frames[0, 14] == [0, 128, 255]).all()  # time 0: sine 0, cosine 1
        assert (ruled.frames[2, 28] == [32, 218, 218]).all()  # 2 of 16: an eighth of a turn
        assert (ruled.frames[:, 15:28, 42] == [191, 64, 0]).all()  # three quarters right, a quarter down


def test_ruler_of_a_long_clip_and_of_pictures():
    """More than 16 frames share one turn; a picture of round 2 has a ruler, too."""
    (clip,) = build("prompt", "keyframe_terse:size=28,ruler=14")(start(frames=32)).clips
    assert clip.frames[:, 0, 0, 0].tolist() == np.round(np.arange(32) / 32 * 255).astype(int).tolist()
    rollout = after_round_one((2, "x"), frames=4)
    (picture,) = build("prompt", "box_terse:size=28,ruler=14")(rollout).clips
    assert (picture.frames[0, 1:14, 14] == [128, 0, 0]).all()
    with pytest.raises(SpecError, match="ruler=-1"):
        build("prompt", "box_terse:ruler=-1")(rollout)
