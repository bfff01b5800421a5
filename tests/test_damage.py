"""Records that are damaged in any place: each command gives its result or one of our errors, and nothing else."""

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_rows import failed, made_row, square, write_results

import revseg
from revseg.diagnosis.diagnose import diagnose
from revseg.errors import InputError, RevsegError
from revseg.evaluation import Results, compare, evaluate, rescore, score, write_submission
from revseg.report import write_site
from revseg.types import Rollout

MANY = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
LONG = "x" * 100_000
DEEP: Any = json.loads("[" * 500 + "]" * 500)
VALUES = (
    None,
    "",
    "x",
    "oooo",
    -1,
    1e9,
    10**9,
    10**400,
    True,
    [],
    {},
    [[]],
    {"a": None},
    math.nan,
    math.inf,
    LONG,
    DEEP,
)
META = {"type": "referring", "foreground_areas": [64] * 8, "video": "v", "exp_id": "0", "void": square(20).to_dict()}
META |= {"frames": [f"{i:05d}" for i in range(8)], "obj_id": "1", "annotator": 0, "objects": 1}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every node of a record, inner ones and leaves; of lists the first item."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    if isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(record)
    held: Any = found
    for part in path[:-1]:
        held = held[part]
    held[path[-1]] = value
    return found


def without(record: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    found = copy.deepcopy(record)
    held: Any = found
    for part in path[:-1]:
        held = held[part]
    del held[path[-1]]
    return found


def commands(path: Path, whole: Path, out: Path) -> dict[str, Callable[[], Any]]:
    return {
        "score": lambda: score(Results.open(path), draws=3).text(),
        "revos": lambda: score(Results.open(path), "revos", draws=0, robustness="legacy_01").to_dict(queries=True),
        "davis": lambda: score(Results.open(path), "ref_davis17", draws=0, missing="skip").query_csv(),
        "compare": lambda: compare(Results.open(whole), Results.open(path), draws=3).text(),
        "diagnose": lambda: (diagnose(path).text(), diagnose(path).to_dict()),
        "report": lambda: write_site(path, out / "site", overwrite=True),
        "rollout": lambda: [(r.groundings, r.form, r.due, r.chosen) for r in rollouts_of(path)],
        "rescore": lambda: rescore(path, {"temporal": 1, "hungarian": 1}, {"1": "keyframe_json"}).text(),
        "submit": lambda: write_submission(Results.open(path), out / "a.zip", "mevis", overwrite=True),
    }


def rollouts_of(path: Path) -> list[Rollout]:
    return [row.rollout for row in Results.open(path) if row.rollout is not None]


def outcome(command: Callable[[], Any]) -> str:
    """ "" for a result or one of our errors in a short text; else what came instead."""
    try:
        command()
    except RevsegError as error:
        return f"an error of {len(str(error))} characters" if len(str(error)) > 1000 else ""
    except Exception as error:
        return repr(error)[:200]
    return ""


def broken(path: Path, whole: Path, out: Path) -> list[str]:
    found = [(name, outcome(command)) for name, command in commands(path, whole, out).items()]
    return [f"{name}: {what}" for name, what in found if what]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_results(tmp_path / "whole.jsonl", [ROW, OTHER])


ROW, OTHER = (
    made_row(0, meta=META, ended=None, frame_size=[24, 32]),
    failed(made_row(1, meta=META | {"exp_id": "1", "obj_id": "2"})),
)
ROW["rounds"][0] |= {"role": "user", "asks": ["keyframe"], "about": [0], "opened": "", "tokens": 5, "then": 1}
PLACES = list(places(ROW))
EACH = [  # a quarter of the fields for every run
    pytest.param(number, id=".".join(map(str, place)), marks=[pytest.mark.slow] if number % 4 else [])
    for number, place in enumerate(PLACES)
]


@pytest.mark.parametrize("number", EACH)
def test_every_field_of_a_row(whole: Path, tmp_path: Path, number: int) -> None:
    """A value or two a field, others for the next one; HYPOTHESIS_PROFILE=ci tries all, which takes minutes."""
    place = PLACES[number]
    values = VALUES if MANY else [VALUES[(number * 2 + turn) % len(VALUES)] for turn in range(2)]
    rows = [changed(ROW, place, value) for value in values]
    for row in [*rows, *([without(ROW, place)] if isinstance(place[-1], str) else [])]:
        path = write_results(tmp_path / "r.jsonl", [row, OTHER])
        assert broken(path, whole, tmp_path) == [], place


def test_the_record_itself_passes(whole: Path, tmp_path: Path) -> None:
    for command in commands(whole, whole, tmp_path).values():
        command()


def test_every_field_of_a_header(whole: Path, tmp_path: Path) -> None:
    lines = whole.read_text().splitlines()
    header = json.loads(lines[0]) | {"dataset": {"name": "shapes", "size": 1}, "versions": {"numpy": "2"}}
    for number, place in enumerate(places(header)):
        for value in VALUES if MANY else [VALUES[(number * 4 + turn) % len(VALUES)] for turn in range(4)]:
            path = tmp_path / "r.jsonl"
            path.write_text("\n".join([json.dumps(changed(header, place, value)), *lines[1:]]) + "\n")
            assert broken(path, whole, tmp_path) == [], (place, repr(value)[:50])


def bombs(text: bytes) -> dict[str, bytes]:
    """The content of a file, damaged as a whole."""
    first, rest = text.split(b"\n", 1)
    return {
        "empty": b"",
        "newline": b"\n",
        "blank lines": text.replace(b"\n", b"\n\n"),
        "deep": b"[" * 100_000 + b"\n" + text,
        "deep row": text + b'{"index": 0, "failure": null, "meta": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        "deep field": text + b'{"index": 2, "meta": ' + b"[" * 900 + b"]" * 900 + b"}\n",
        "not UTF-8": text.replace(b"find it", b"find \xff"),
        "UTF-16": text.decode().encode("utf-16"),
        "mark": b"\xef\xbb\xbf" + text,
        "CRLF": text.replace(b"\n", b"\r\n"),
        "torn": text[:-40],
        "torn in the middle": text[: len(first) + 200] + b"\n" + rest,
        "twice": text + text,
        "long number": text + b'{"index": ' + b"9" * 5000 + b', "failure": null}\n',
        "long number in a field": text.replace(b'"fps": 8.0', b'"fps": ' + b"9" * 5000),
        "infinite": text.replace(b'"fps": 8.0', b'"fps": 1e999'),
        "word": text.replace(b'"fps": 8.0', b'"fps": NaN'),
        "key twice": text.replace(b'"fps": 8.0', b'"fps": 8.0, "fps": "x"'),
        "a list": b"[1, 2]\n" + text,
        "no header": rest,
        "zeros": bytes(5000),
        "binary": bytes(range(256)) * 20,
    }


def test_damage_to_a_whole_file(whole: Path, tmp_path: Path) -> None:
    for name, content in bombs(whole.read_bytes()).items():
        path = tmp_path / "r.jsonl"
        path.write_bytes(content)
        assert broken(path, whole, tmp_path) == [], name


def test_a_mark_and_windows_lines_are_read(whole: Path, tmp_path: Path) -> None:
    for name in ("mark", "CRLF", "torn"):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(bombs(whole.read_bytes())[name])
        assert next(iter(Results.open(path))).query == "query 0"


def test_errors_name_the_file_the_row_and_the_field(tmp_path: Path) -> None:
    row = changed(ROW, ("rounds", 1, "answer", "form"), "high")
    path = write_results(tmp_path / "r.jsonl", [OTHER | {"index": 0}, row | {"index": 1}])
    with pytest.raises(
        InputError, match=r"r\.jsonl: row 1: rounds\[1\]\.answer\.form: expected a valid number, got 'high'$"
    ):
        diagnose(path)
    path = write_results(tmp_path / "r.jsonl", [changed(ROW, ("truth", "counts", 0, 3), "oooo")])
    with pytest.raises(
        InputError, match=r"r\.jsonl: row 0: truth: not a mask track: counts\[0\]\[3\]: expected runs of 768"
    ):
        write_site(path, tmp_path / "site")


def test_an_evaluation_is_not_continued_from_a_damaged_file(tmp_path: Path) -> None:
    """Nor ended by it in another way; what is damaged where nobody has to look is left as it is."""
    path, world = tmp_path / "r.jsonl", "shapes:size=2,frames=4,height=32,width=32"
    model = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=2)
    evaluate(model, world, path, progress=False)
    text = path.read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    for number, place in enumerate(places(lines[0])):
        value = VALUES[number % len(VALUES)]
        path.write_text("".join(json.dumps(line) + "\n" for line in [changed(lines[0], place, value), *lines[1:]]))
        assert outcome(lambda: evaluate(model, world, path, progress=False)) == "", place
    for name, content in bombs(text).items():
        path.write_bytes(content)
        for retry in (False, True):
            assert outcome(lambda retry=retry: evaluate(model, world, path, progress=False, retry=retry)) == "", name
        for shard in tmp_path.glob("*.shard-*"):
            shard.unlink()
