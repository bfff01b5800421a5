import json
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from revseg.errors import InputError, SpecError
from revseg.grounding import FAILURES, box_json, keyframe_and_box_json, keyframe_json, render
from revseg.grounding.lenient_json import MAX_DEPTH, MAX_STEPS, read_runs
from revseg.registry import build
from revseg.testing import answers, check_parser, clips, replies
from revseg.testing.parser import same_answer
from revseg.types import Answer, Clip, Target

CLIP = Clip(np.zeros((16, 448, 448, 3), np.uint8), np.arange(16) * 10)
PICTURE = Clip(np.zeros((1, 400, 800, 3), np.uint8), np.array([70]))
KINDS = {"keyframe_json": keyframe_json, "box_json": box_json, "keyframe_and_box_json": keyframe_and_box_json}


def wrap(body, thinking="It is there."):
    return f"<think>{thinking}</think>\n<answer>{body}</answer>"


def keyframes(answer):
    assert answer.error is None, answer
    return [(t.frame_id // 10, t.description) for t in answer.targets]


def corners(answer):
    assert answer.error is None, answer
    return [t.boxes.tolist() for t in answer.targets]


def item(frame="3", words='"a dog"'):
    return wrap(f'[{{"frame_idx": {frame}, "object description": {words}}}]')


# Round 1

GOOD = {
    "as asked": '[{"frame_idx": 3, "object description": "a dog"}]',
    "the paper's own quotes": "[{'frame_idx': 3, 'object description': 'a dog'}]",
    "fenced": '```json\n[{"frame_idx": 3, "object description": "a dog"}]\n```',
    "trailing commas": '[{"frame_idx": 3, "object description": "a dog",},]',
    "text around": 'Sure [1]! [{"frame_idx": 3, "object description": "a dog"}] as seen in {2}.',
    "one dict": '{"frame_idx": 3, "object description": "a dog"}',
    "other keys": '[{"Key-Frame": 3, "label": "a dog"}]',
    "bare keys": "[{frame_idx: 3, object description: a dog}]",
    "text for a number": '[{"frame_idx": "3", "object description": " a dog "}]',
    "a whole float": '[{"frame_idx": 3.0, "object description": "a dog"}]',
    "the last of two": '[{"frame_idx": 1, "object description": "x"}] no: [{"frame": 3, "label": "a dog"}]',
    "superfluous keys": '[{"time": 1.5, "frame_idx": 3, "object description": "a dog", "sure": true}]',
    "list left open": '[{"frame_idx": 3, "object description": "a dog"}',
    "prose bracket left open": 'see [frame 3: [{"frame_idx": 3, "object description": "a dog"}]',
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD.keys())
def test_keyframe_is_read(body):
    assert keyframes(keyframe_json(wrap(body), CLIP)) == [(3, "a dog")]
    assert keyframes(keyframe_json(body, CLIP)) == [(3, "a dog")]


BAD = {
    "no_answer": ["", "<think>only thinking", "<think>[1]</think>", "<answer></answer>"],
    "no_json": ["I see a dog.", wrap("frame 3, a dog"), wrap("{"), wrap("[[["), wrap('[{"frame_idx": 3, "obj')],
    "no_keyframe": [wrap('[{"object description": "a dog"}]'), wrap("[{}]"), wrap("[3]"), wrap('["a", "dog"]')],
    "keyframe_type": [
        item(frame) for frame in ("0.5", "true", "null", '"three"', "[3]", "NaN", "1e400", '""', "1" * 401)
    ],
    "keyframe_range": [item(frame) for frame in ("-1", "16", '"16"', "99999999999", '"-1"', "-0.0001e4")],
    "no_description": [item(words=words) for words in ('""', '"  "', "null", "[]", "7")] + [wrap('[{"frame_idx": 3}]')],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD.items() for text in texts])
def test_keyframe_failures_by_name(kind, text):
    answer = keyframe_json(text, CLIP)
    assert (answer.error, answer.targets) == (kind, ())
    assert answer.detail
    assert answer.form < 1
    assert kind in FAILURES


def test_one_bad_item_fails_the_reply():
    good, bad = '{"frame_idx": 3, "object description": "a"}', '{"frame_idx": 99, "object description": "b"}'
    assert keyframe_json(wrap(f"[{good}, {bad}]"), CLIP).error == "keyframe_range"


def test_several_dicts_are_several_targets():
    body = '[{"frame_idx": 3, "object description": "a"}, {"frame_idx": 5, "object description": "b"}]'
    assert keyframes(keyframe_json(wrap(body), CLIP)) == [(3, "a"), (5, "b")]
    lines = '{"frame_idx": 3, "object description": "a"}\n{"frame_idx": 5, "object description": "b"}'
    assert keyframes(keyframe_json(wrap(lines), CLIP)) == [(3, "a"), (5, "b")]


@pytest.mark.parametrize("body", ["[]", "```json\n[]\n```", "None", "The dog is not in the video.", "no such object"])
def test_not_in_the_video(body):
    assert keyframe_json(wrap(body), CLIP).absent


@pytest.mark.parametrize(
    "text",
    [
        "The dog is not in the video.",  # outside <answer>: may be a thought
        wrap("It is not visible in frame 2 but in frame 3."),
        wrap("not in the video " + "at all " * 30),
        wrap("The dog is in the video."),
    ],
)
def test_what_is_no_plain_statement_of_absence(text):
    assert keyframe_json(text, CLIP).error == "no_json"


def test_form_is_the_share_of_the_rules_met():
    body = '[{"frame_idx": 3, "object description": "a dog"}]'
    assert keyframe_json(wrap(body), CLIP).form == 1
    assert keyframe_json(f"<answer>{body}</answer>", CLIP).form == 4 / 5  # no thinking
    assert keyframe_json(body, CLIP).form == 3 / 5  # no tags
    assert keyframe_json(wrap(body) + " Done.", CLIP).form == 4 / 5  # text after the answer
    assert keyframe_json(wrap(body[1:-1]), CLIP).form == 4 / 5  # a dict, no list
    assert keyframe_json(item(frame="99"), CLIP).form == 4 / 5
    assert keyframe_json(wrap("[{}]"), CLIP).form == 3 / 5
    assert keyframe_json(wrap("a dog"), CLIP).form == 2 / 5
    assert keyframe_json("a dog", CLIP).form == 0
    assert keyframe_json(wrap("[]"), CLIP).form == 1
    assert keyframe_json(wrap("none"), CLIP).form == 4 / 5


def test_the_answer_after_the_thinking_counts():
    other = '<answer>[{"frame_idx": 5, "object description": "x"}]</answer>'
    body = '[{"frame_idx": 3, "object description": "a dog"}]'
    assert keyframes(keyframe_json(wrap(body, thinking=other), CLIP)) == [(3, "a dog")]
    assert keyframes(keyframe_json(f"{other} Wait. <answer>{body}</answer>", CLIP)) == [(3, "a dog")]
    assert keyframes(keyframe_json(f"<think>no end <answer>{body}</answer>", CLIP)) == [(3, "a dog")]


def test_quotes_inside_quotes():
    assert keyframes(keyframe_json(wrap("[{'frame_idx': 3, 'label': 'the man's dog'}]"), CLIP)) == [
        (3, "the man's dog")
    ]
    assert keyframes(keyframe_json(wrap('[{"frame_idx": 3, "label": "a "red" car"}]'), CLIP)) == [(3, 'a "red" car')]
    assert keyframes(keyframe_json(wrap(r"""[{"frame_idx": 3, "label": "\"q\" \u732b \ud83d"}]"""), CLIP)) == [
        (3, '"q" 猫 \ufffd')
    ]


# Round 2

BOXES = {
    "native": '```json\n[\n\t{"bbox_2d": [80, 40, 400, 200], "label": "a dog"}\n]\n```',
    "other key": '[{"bbox": [80, 40, 400, 200]}]',
    "one dict": '{"box": [80, 40, 400, 200]}',
    "a bare list": "[80, 40, 400, 200]",
    "a list of bare lists": "[[80, 40, 400, 200]]",
    "floats": "[80.0, 40.0, 4e2, 2.0e2]",
    "tagged": wrap("[80, 40, 400, 200]"),
    "in prose": "The dog [1] is at [80, 40, 400, 200] in the picture (see [2]).",
}


@pytest.mark.parametrize("text", BOXES.values(), ids=BOXES.keys())
def test_box_is_read_in_pixels_of_the_picture_shown(text):
    np.testing.assert_allclose(corners(box_json(text, PICTURE)), [[[0.1, 0.1, 0.5, 0.5]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("coords", "text"),
    [("pixel", "[80, 40, 400, 200]"), ("per_mille", "[100, 100, 500, 500]"), ("unit", "[0.1, 0.1, 0.5, 0.5]")],
)
def test_units_of_coordinates(coords, text):
    np.testing.assert_allclose(corners(box_json(text, PICTURE, coords=coords)), [[[0.1, 0.1, 0.5, 0.5]]], rtol=1e-6)


def test_unknown_unit_is_our_mistake_not_the_models():
    with pytest.raises(SpecError, match="per_mille"):
        box_json("", PICTURE, coords="percent")


@pytest.mark.parametrize("size", [28, 64, 840])
def test_the_parsed_box_does_not_depend_on_the_size_shown(size):
    shown = Clip(np.zeros((1, size, size, 3), np.uint8), np.zeros(1, np.int64))
    text = json.dumps([size / 4, 0, size, size / 2])
    assert corners(box_json(text, shown)) == [[[0.25, 0, 1, 0.5]]]


def test_several_boxes_are_a_target_each():
    for text in (
        "[[0, 0, 80, 40], [0, 0, 800, 400]]",
        "[0, 0, 80, 40], [0, 0, 800, 400]",
        '{"boxes": [[0, 0, 80, 40], [0, 0, 800, 400]]}',
    ):
        answer = box_json(text, PICTURE)
        np.testing.assert_allclose(corners(answer), [[[0, 0, 0.1, 0.1]], [[0, 0, 1, 1]]], rtol=1e-6)
        assert all(target.frame_id is None for target in answer.targets)


def test_boxes_are_cut_off_at_the_edges():
    np.testing.assert_allclose(corners(box_json("[-5, -5, 900, 200]", PICTURE)), [[[0, 0, 1, 0.5]]])


BAD_BOXES = {
    "no_answer": ["", "  ", "<think>[0, 0, 9, 9]"],
    "no_json": ["at 80, 40", "(80,40),(400,200)", "[80, 40", '[{"bbox_2d": [80, 40, 400, 200], "label": "do'],
    "no_box": ['[{"label": "dog"}]', "[{}]", "[{'frame_idx': 1}]"],
    "box_type": [
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        '["1", 2, 3, 4]',
        "[true, 2, 3, 4]",
        "[null, 2, 3, 4]",
        "[[], 2, 3, 4]",
        "[NaN, 2, 3, 4]",
        "[1, 2, 3, Infinity]",
        f"[1, 2, {10**400}, 4]",
        '[{"bbox_2d": "1, 2, 3, 4"}]',
        '[{"box": []}]',
    ],
    "box_order": ["[5, 1, 5, 2]", "[5, 1, 4, 2]", "[1, 5, 2, 5]", "[1, 5, 2, 4]", "[0, 0, 0, 0]"],
    "box_outside": ["[-9, 0, 0, 9]", "[800, 0, 900, 9]", "[0, 400, 9, 500]", "[0, 0, 1e-60, 9]"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD_BOXES.items() for text in texts])
def test_box_failures_by_name(kind, text):
    answer = box_json(text, PICTURE)
    assert (answer.error, answer.targets) == (kind, ())
    assert answer.form < 1
    assert kind in FAILURES


def test_box_form_and_required_tags():
    assert box_json("[[1, 2, 3, 4]]", PICTURE).form == 1
    assert box_json("[1, 2, 3, 4]", PICTURE).form == 1
    assert box_json('{"box": [1, 2, 3, 4]}', PICTURE).form == 1 / 2
    assert box_json("[[1, 2, 3, 1]]", PICTURE).form == 1 / 2
    assert box_json("nowhere", PICTURE).form == 0
    assert box_json(wrap("[[1, 2, 3, 4]]"), PICTURE, tags=True).form == 1
    untagged = box_json("[[1, 2, 3, 4]]", PICTURE, tags=True)
    assert (untagged.error, untagged.form) == ("no_answer", 2 / 4)


def test_absent_in_round_two():
    assert box_json("[]", PICTURE).absent
    assert box_json("```json\n[]\n```", PICTURE).absent


def test_points():
    (target,) = box_json('[{"bbox_2d": [80, 40, 400, 200], "point_2d": [80, 40]}]', PICTURE).targets
    np.testing.assert_allclose(target.points, [[0.1, 0.1]])
    assert target.point_labels.tolist() == [True]
    text = '[{"bbox_2d": [80, 40, 400, 200], "points": %s}]'
    assert len(box_json(text % "[[80, 40], [90, 50]]", PICTURE).targets[0].points) == 2
    assert box_json(text % "[80]", PICTURE).error == "point_type"
    assert box_json(text % '"x"', PICTURE).error == "point_type"
    assert box_json(text % "[801, 40]", PICTURE).error == "point_outside"
    assert box_json('[{"point_2d": [80, 40]}]', PICTURE).error == "no_box"


# Both in one


def test_both_in_one_round():
    body = '[{"frame_idx": 3, "object description": "a dog", "bbox_2d": [44.8, 44.8, 224, 224]}]'
    answer = keyframe_and_box_json(wrap(body), CLIP)
    assert keyframes(answer) == [(3, "a dog")]
    np.testing.assert_allclose(corners(answer), [[[0.1, 0.1, 0.5, 0.5]]], rtol=1e-6)
    assert answer.form == 1
    half = keyframe_and_box_json(wrap('[{"frame_idx": 3, "object description": "a dog"}]'), CLIP)
    assert (half.error, half.form) == ("no_box", 5 / 6)
    assert keyframe_and_box_json("[1, 2, 3, 4]", CLIP).error == "no_keyframe"


# Signs, tags and keys as other models write them

DOG = '[{"frame_idx": 3, "object description": "a dog"}]'
OTHER_SIGNS = {
    "full-width brackets, colons, commas, digits": '［｛"frame_idx"：３，"object description"："a dog"｝］',
    "quotes of print": "[{“frame_idx”: 3, “object description”: “a dog”}]",
    "single quotes of print": "[{‘frame_idx’：3，‘object description’：‘a dog’}]",
    "full-width quotes": "[{＂frame_idx＂: 3, ＂object description＂: ＂a dog＂}]",
    "a full-width digit in quotes": '[{"frame_idx": "３", "object description": "a dog"}]',
    "digits of another script": '[{"frame_idx": ٣, "object description": "a dog"}]',
    "spaces without width": '[\u200b{"frame_idx"\u200b: \u200b3\ufeff, "object\u00a0description\u200b": "a dog"}]',
    "a comment of its own": '[{// the best\n"frame_idx": 3, "object description": "a dog"}]',
    "CDATA": f"<![CDATA[{DOG}]]>",
}


@pytest.mark.parametrize("body", OTHER_SIGNS.values(), ids=OTHER_SIGNS.keys())
def test_other_signs_are_read(body):
    answer = keyframe_json(wrap(body), CLIP)
    assert keyframes(answer) == [(3, "a dog")]
    assert keyframe_json(wrap(body), CLIP, strict=True).error is not None


def test_what_stands_in_quotes_stays_as_it_is():
    words = "“red”，［１］ ‘dog’：\u200b３"
    assert keyframes(keyframe_json(item(words=json.dumps(words, ensure_ascii=False)), CLIP)) == [(3, words)]
    assert keyframes(keyframe_json(wrap("[{“frame_idx”: 3, “label”: “the man’s “red” dog，１”}]"), CLIP)) == [
        (3, "the man’s “red” dog，１")
    ]


SAME_BOX = [
    "［80，40，４００，200］",
    "[(80, 40, 400, 200)]",
    '{"bbox_2d": (80, 40.0, 400, 2e2)}',
    "[８０．０, 40, 400, 200]",
]


@pytest.mark.parametrize("text", SAME_BOX)
def test_other_signs_in_boxes(text):
    np.testing.assert_allclose(corners(box_json(text, PICTURE)), [[[0.1, 0.1, 0.5, 0.5]]], rtol=1e-6)


def test_no_corner_is_a_negative_zero():
    (target,) = box_json("[-0.0, −5, 400, 200]", PICTURE).targets
    assert not np.signbit(target.boxes).any()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('[["80", "40", "400", "200"]]', "box_type"),
        ("[10%, 10%, 50%, 50%]", "box_type"),
        ("[80², 40, 400, 200]", "box_type"),
        ("[1, 2, 1e309, 4]", "box_type"),
        ('[{"box_2d": [300, 200, 100, 400]}]', "box_order"),
    ],
)
def test_what_is_no_number_is_named(text, kind):
    assert box_json(text, PICTURE).error == kind


@pytest.mark.parametrize("coords", ["pixel", "per_mille", "unit"])
@pytest.mark.parametrize("key", ["box_2d", "Box-2D", "box 2d"])
def test_box_2d_is_y_first_in_thousandths(coords, key):
    text = json.dumps([{key: [100, 200, 300, 400], "label": "dog"}, {key: [[0, 0, 500, 1200]]}])
    found = corners(box_json(text, PICTURE, coords=coords))
    np.testing.assert_allclose(found, [[[0.2, 0.1, 0.4, 0.3]], [[0, 0, 1, 0.5]]], rtol=1e-6)


@pytest.mark.parametrize(
    "after",
    [
        '<answer>[{"frame_idx": 5, "obj',
        "<answer>as above</answer>",
        "<answer></answer>",
        "<answer>[1]",
        "<answer>" * 3,
        "<ANSWER >",
    ],
)
def test_of_several_answers_the_last_readable_one_counts(after):
    first, second = DOG.replace("3", "1"), DOG
    text = f"<think>x</think><answer>{first}</answer> no: <answer>{second}</answer> {after}"
    answer = keyframe_json(text, CLIP)
    assert keyframes(answer) == [(3, "a dog")]
    assert answer.form == 4 / 5  # the answer tags are not in place


def test_a_later_answer_that_can_be_read_is_the_answer_even_when_it_is_wrong_or_says_absent():
    assert keyframe_json(f"<answer>{DOG}</answer><answer>{DOG.replace('3', '99')}</answer>", CLIP).error == (
        "keyframe_range"
    )
    assert keyframe_json(f"<answer>{DOG}</answer><answer>[]</answer>", CLIP).absent
    assert keyframe_json(f"<answer>{DOG}</answer><answer>not in the video</answer>", CLIP).absent


def test_odd_tags_are_read_and_cost_form():
    assert keyframes(keyframe_json(f"<THINK>x</THINK><Answer>{DOG}</ANSWER>", CLIP)) == [(3, "a dog")]
    assert keyframe_json(f"<THINK>x</THINK><Answer>{DOG}</ANSWER>", CLIP).form == 3 / 5
    assert keyframes(keyframe_json(wrap(f"<answer>{DOG}</answer>"), CLIP)) == [(3, "a dog")]
    assert keyframes(keyframe_json(item(words='"the <answer> sign"'), CLIP)) == [(3, "the <answer> sign")]


@pytest.mark.parametrize("piece", ["<answer>", "“", "[“", "[(", "<answer>[", "[{“a”：", "<![CDATA[", "[\u200b", "(1,"])
def test_many_of_anything_are_read_in_one_pass(piece):
    for parser in KINDS.values():
        assert isinstance(parser(piece * 20_000, CLIP), Answer)


# Strict


def test_strict_takes_the_documented_form():
    body = '[{"frame_idx": 3, "object description": "a dog"}]'
    assert keyframes(keyframe_json(wrap(body), CLIP, strict=True)) == [(3, "a dog")]
    assert corners(box_json('[{"bbox_2d": [0, 0, 800, 400], "label": "a"}]', PICTURE, strict=True)) == [[[0, 0, 1, 1]]]
    assert corners(box_json('```json\n[{"bbox_2d": [0, 0, 800, 400]}]\n```', PICTURE, strict=True)) == [[[0, 0, 1, 1]]]
    assert keyframe_json(wrap("[]"), CLIP, strict=True).absent


STRICT = {
    "no_think": ['<answer>[{"frame_idx": 3, "object description": "a"}]</answer>', "x " + item()],
    "no_answer": ['<think></think>[{"frame_idx": 3, "object description": "a"}]', item() + "."],
    "no_json": [
        wrap("[{'frame_idx': 3, 'object description': 'a'}]"),
        wrap("none"),
        wrap("```\n[]\n```"),
        wrap('[{"frame_idx": 3, "object description": "a",}]'),
        wrap('a [{"frame_idx": 3, "object description": "a"}]'),
    ],
    "no_list": [wrap('{"frame_idx": 3, "object description": "a"}'), wrap("[[]]"), wrap("[1]")],
    "wrong_keys": [
        wrap('[{"frame": 3, "object description": "a"}]'),
        wrap('[{"frame_idx": 3}]'),
        wrap('[{"frame_idx": 3, "object description": "a", "x": 1}]'),
    ],
    "keyframe_type": [item('"3"'), item("3.0"), item("true")],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in STRICT.items() for text in texts])
def test_strict_failures_by_name(kind, text):
    answer = keyframe_json(text, CLIP, strict=True)
    assert answer.error == kind
    assert answer.form < 1


def test_strict_boxes():
    assert box_json("[0, 0, 800, 400]", PICTURE, strict=True).error == "no_list"
    assert box_json('[{"bbox_2d": [[0, 0, 800, 400]]}]', PICTURE, strict=True).error == "box_type"
    assert box_json('[{"box": [0, 0, 800, 400]}]', PICTURE, strict=True).error == "wrong_keys"


def test_strict_reads_all_or_nothing():
    many = ", ".join(['{"frame_idx": 3, "object description": "a"}'] * (MAX_STEPS // 8))
    assert keyframe_json(wrap(f"[{many}]"), CLIP, strict=True).error == "no_json"


@given(clips().flatmap(lambda c: st.tuples(st.just(c), replies(c))))
def test_what_strict_reads_lenient_reads_alike(case):
    shown, text = case
    for parser in KINDS.values():
        strict = parser(text, shown, strict=True)
        if strict.error is None:
            assert same_answer(strict, parser(text, shown))


# Any text


@pytest.mark.parametrize("options", ["", ":strict=True", ":coords=unit,tags=True"])
@pytest.mark.parametrize("kind", KINDS)
def test_contract(kind, options):
    check_parser(kind + options, examples=60)


@given(clips().flatmap(lambda c: st.tuples(st.just(c), replies(c))))
def test_every_failure_is_listed_and_costs_form(case):
    shown, text = case
    for parser in KINDS.values():
        for strict, tags in ((False, False), (True, False), (False, True)):
            answer = parser(text, shown, strict=strict, tags=tags)
            assert answer.error is None or (answer.error in FAILURES and answer.form < 1)


SIGNS = [
    "［",
    "｛",
    "｝",
    "］",
    "：",
    "，",
    "“",
    "”",
    "‘",
    "’",
    "３",
    "−",
    "\u200b",
    "(1, 2)",
    "<![CDATA[",
    "bbox_2d",
    '"',
]


@given(clips(), st.lists(st.sampled_from([*SIGNS, "<answer>", "</answer>", "[", "{", "]", "}"]), max_size=30))
def test_noise_of_other_signs_gives_an_answer(shown, pieces):
    for parser in KINDS.values():
        answer = parser("".join(pieces), shown)
        assert answer.error is None or (answer.error in FAILURES and not answer.targets)


HOSTILE = [
    "[",
    "{",
    "{}",
    "[1,",
    "'",
    '"',
    "\\",
    '["',
    "[{'",
    "<think>",
    "<answer>",
    "</think>",
    "[' ",
    "9",
    " ",
    "\n",
    "```",
]
HOSTILE += ['{"a":', "[[],", "]", "not ", "[1] ", '[{"bbox_2d": ', "\ud800", "\0"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_long_hostile_replies_give_an_answer(piece):
    text = piece * (2_000 // len(piece))
    for parser in KINDS.values():
        for reply in (text, f"[{text}", f'["{text}', wrap(f"[{text}]"), f'[{{"bbox_2d": [{text}]}}]'):
            for strict in (False, True):
                answer = parser(reply, CLIP, strict=strict)
                assert answer.error is not None or answer.absent


# The inverse


@given(st.data(), clips(), st.sampled_from(sorted(KINDS)), st.sampled_from(["pixel", "per_mille", "unit"]))
def test_render_and_parse_are_inverse(data, shown, kind, coords):
    answer = data.draw(answers(shown, kind))
    text = render(answer, shown, kind=kind, coords=coords, thinking="it's [1] <answer>[]</answer>")
    for strict in (False, True):
        several = any(len(t.boxes) > 1 or len(t.points) > 1 for t in answer.targets)
        if strict and several:
            continue
        assert same_answer(KINDS[kind](text, shown, coords=coords, strict=strict), answer), text
    tagged = render(answer, shown, kind=kind, coords=coords, tags=True)
    assert same_answer(KINDS[kind](tagged, shown, coords=coords, tags=True), answer)


def test_render_by_hand():
    target = Target(30, "a dog", np.array([[0.1, 0.1, 0.5, 0.5]], np.float32))
    keyframe = render(Answer((target,)), CLIP, kind="keyframe_json", thinking="Look.")
    assert keyframe == '<think>Look.</think><answer>[{"frame_idx": 3, "object description": "a dog"}]</answer>'
    box = '[{"bbox_2d": [80, 40, 400, 200], "label": "a dog"}]'
    assert render(Answer((target,)), PICTURE, kind="box_json") == box
    assert render(Answer((target,)), PICTURE, kind="box_json", tags=True) == f"<think></think><answer>{box}</answer>"
    assert render(Answer(), PICTURE, kind="box_json") == "[]"


def test_render_in_steps():
    def written(*box, step=4.0):
        target = Target(boxes=np.array([box], np.float32))
        shown = Clip(np.zeros((1, 112, 112, 3), np.uint8), np.zeros(1, np.int64))
        return json.loads(render(Answer((target,)), shown, kind="box_json", step=step))[0]["bbox_2d"]

    assert written(9 / 112, 11 / 112, 50 / 112, 60 / 112) == [8, 12, 48, 60]  # 50 lies halfway: to the even multiple
    assert written(0.001, 0.999, 0.002, 1) == [0, 108, 4, 112]  # never empty, never outside


def test_render_refuses_what_it_cannot_say():
    with pytest.raises(InputError, match="failed"):
        render(Answer(error="no_json"), CLIP, kind="keyframe_json")
    with pytest.raises(InputError, match="a description, on one of the frames shown"):
        render(Answer((Target(),)), CLIP, kind="keyframe_json")
    with pytest.raises(InputError, match="with a box"):
        render(Answer((Target(3, "x"),)), CLIP, kind="box_json")
    off = Target(3, "x", points=np.zeros((1, 2), np.float32), point_labels=np.zeros(1, bool))
    with pytest.raises(InputError, match="on the target"):
        render(Answer((off,)), CLIP, kind="keyframe_json")
    with pytest.raises(InputError, match="keyframe_json"):
        render(Answer(), CLIP, kind="keyframe")


# The reader of JSON

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18) + 1, 10**18 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.sampled_from([None, 1]))
@example({"": ["\ufeff"], "a": ["'", '"', "\\", "\b\f\0"]}, None)
def test_all_json_is_read_as_json_does(value, indent):
    for ascii_only in (True, False):
        runs = read_runs(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
        assert [run.values for run in runs] == [[value]]
        assert runs[0].whole


@given(st.lists(st.text(max_size=6) | st.integers(0, 99) | st.none() | st.booleans(), min_size=1, max_size=4))
def test_what_python_prints_is_read_too(value):
    assert [run.values for run in read_runs(repr(value))] == [[value]]


def test_runs():
    def values(text):
        return [(run.values, run.whole) for run in read_runs(text)]

    assert values("a [1] b [2], {}; [3]") == [([[1]], True), ([[2], {}, [3]], True)]
    assert values("[1, [2], {'a': 3") == [([[2]], False)]
    assert values("[1, [2]} [3]") == [([[2]], False), ([[3]], True)]
    assert values("no brackets 'at all") == []
    assert values("{'a': 1, 'b'}") == [([{"a": 1}], True)]
    assert values("[1,,2]") == [([[1, 2]], True)]
    assert values("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == []
    assert values("[1" + ",1" * MAX_STEPS + "]") == []


def test_parsers_are_registered():
    for name, parser in KINDS.items():
        assert build("parser", name) is parser


def test_a_point_beyond_float32_is_outside_without_a_warning() -> None:
    shown = Clip(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = box_json('[{"bbox_2d": [1, 2, 3, 4], "point_2d": [1e300, 2]}]', shown)
    assert answer.error == "point_outside"
