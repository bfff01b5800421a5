"""GroundMoRe: `test_v2.json`, `annotations/<video>/{images/*.jpg, masks/frame_<index>.png}`."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from revseg.datasets.benchmark import Benchmark, Item, check_root, check_split
from revseg.datasets.layout import frame_files, inside
from revseg.datasets.png_masks import object_number, read_labels
from revseg.errors import InputError, VideoError
from revseg.masks import MaskTrack, encode
from revseg.registry import register
from revseg.types import Query, Sample
from revseg.untrusted.reading import read_json
from revseg.video import Video

FPS = 6
SAMPLED = 20
TYPES = ("Causal", "Sequential", "Counterfactual", "Descriptive")


@register("dataset", "groundmore")
class GroundMoRe(Benchmark):
    """GroundMoRe, questions about motion: a sequence of samples from the official folders.

    The target counts only during its action. From frame 6 * (action_start - clip start) to 6 * (action_end - clip
    start) - 1 of the clip the truth is the pixels whose palette value is `obj_id`. On other frames, and where a mask
    file is missing, it is empty. The clip's start is the first four of the last nine characters of the video's id
    ("..._0130_0145": 1:30). Masks are named by the frame's index: `frame_000007.png` or `0000007.png`.

    The official script uses and scores 20 evenly spaced frames, and a sample's video has these frames only; some of
    them twice if the clip is shorter, as in the official script. With `frames="all"` the video is the whole clip, at 6
    frames per second; such scores do not compare with those on 20 frames. (The official script takes the frames in the
    order in which the system lists the folder; here they are sorted by name.)

    `meta` adds `answer`, `obj_id`, `q_type`, `type` (the same), `action_start` and `action_end` ("minutes:seconds"),
    `action_frames` (its first and last frame in the clip, inclusive) and, for a sample that was read, `source_frames`
    (the frames' indices in the clip) and `clip_frames` (the clip's number of frames).

    Options:
        root: the folder with `test_v2.json` and `annotations/`.
        split: "test", the only one.
        frames: the number of evenly spaced frames, or "all".
        exclude: ids of videos or queries to leave out, `*` allowed: one pattern, a list, or a .txt file with one per
            line.
        fps: nominal frames per second of the clips, 6 by default; does not change the action's frames.
    """

    name = "groundmore"
    source = (
        "https://huggingface.co/datasets/groundmore/GroundMoRe; 1.7K clips and 7.6K questions in all; the README of "
        "https://github.com/dengandong/GroundMoRe names no licence for the data: ask there"
    )
    frames_per_second = float(FPS)

    def __init__(
        self,
        *,
        root: str,
        split: str = "test",
        frames: int | str = SAMPLED,
        exclude: str | Sequence[str] = (),
        fps: float | None = None,
    ) -> None:
        check_split(split, ("test",))
        if frames != "all" and (not isinstance(frames, int) or isinstance(frames, bool) or frames < 1):
            raise InputError(f'expected frames "all" or a number from 1, got {frames!r}')
        base = check_root(root, "test_v2.json")
        self.frames, self.clips = frames, base / "annotations"
        super().__init__(root, split, _items(base / "test_v2.json", self.clips), exclude, fps)

    def completed(self, item: Item) -> Item:
        """With the frames of the clip that are used, from the files in its folder."""
        names = list(frame_files(item.folder))
        chosen = list(range(len(names)))
        if self.frames != "all" and names:
            chosen = np.linspace(0, len(names) - 1, num=int(self.frames), dtype=int).tolist()
        fields = {**item.fields, "source_frames": chosen, "clip_frames": len(names)}
        return replace(item, frames=tuple(names[i] for i in chosen), fields=fields)

    def listed(self, index: int) -> tuple[str, Query, dict[str, Any]]:
        """As for every reader; with the frames' names, which are in no list, if the folder exists."""
        item = self.items[index]
        with contextlib.suppress(VideoError):
            item = self.completed(item)
        return item.video, Query(item.query_id, item.text), self._meta(item)

    def rate(self, item: Item) -> float | None:
        chosen, rate = item.fields["source_frames"], self.fps or FPS
        spread = chosen[-1] - chosen[0] if chosen else 0
        return rate * (len(chosen) - 1) / spread if spread else rate

    def truth(self, item: Item, video: Video) -> MaskTrack | None:
        first, last = item.fields["action_frames"]
        masks = _by_index(self._masks(item))
        nothing, value = encode(np.zeros(video.size, bool)), int(item.fields["obj_id"])
        row = []
        for index in item.fields["source_frames"]:
            path = masks.get(index) if first <= index <= last else None
            row.append(nothing if path is None else _object(path, value, video.size))
        return MaskTrack((tuple(row),), video.size, np.arange(len(row)))

    def faults(self, sample: Sample) -> list[str]:
        """An action that is not inside its clip; masks of frames that the clip does not have."""
        (first, last), count = sample.meta["action_frames"], sample.meta["clip_frames"]
        found = []
        if last < first or first < 0 or last >= count:
            found.append(f"the action's frames {first}..{last} are not all inside the clip's 0..{count - 1}")
        item = next(item for item in self.items if item.query_id == sample.query.id)
        beyond = [index for index in _by_index(self._masks(item)) if index >= count]
        if beyond:
            found.append(f"{len(beyond)} masks of frames after the clip's {count}, the first of frame {min(beyond)}")
        return found

    def _masks(self, item: Item) -> Path:
        return inside(self.clips, item.video, "masks")


def _items(listed: Path, clips: Path) -> list[Item]:
    data = read_json(listed, "the questions")
    videos = data.get("videos") if isinstance(data, Mapping) else None
    if not isinstance(videos, Mapping):
        raise InputError(f'{listed}: expected {{"videos": {{id: {{"questions": {{...}}}}}}}}')
    items = []
    for video, entry in videos.items():
        questions = entry.get("questions") if isinstance(entry, Mapping) else None
        if not isinstance(questions, Mapping):
            raise InputError(f'{listed}: video {video!r}: expected {{"questions": {{id: {{"question": ...}}}}}}')
        folder = inside(clips, video, "images")
        for key, fields in questions.items():
            items.append(_item(listed, video, key, fields, folder))
    return items


def _item(listed: Path, video: str, key: str, fields: Any, folder: Path) -> Item:
    where = f"{listed}: video {video!r}, question {key}"
    needed = ("question", "obj_id", "q_type", "action_start", "action_end")
    if not isinstance(fields, Mapping) or not isinstance(fields.get("question"), str) or set(needed) - set(fields):
        raise InputError(f'{where}: expected "{", ".join(needed)}"')
    if fields["q_type"] not in TYPES:
        raise InputError(f'{where}: expected "q_type" to be one of {", ".join(TYPES)}, got {fields["q_type"]!r}')
    object_number(fields["obj_id"], listed)
    begins = _clip_start(video, where)
    first, end = (FPS * (_seconds(fields[name], f"{where}, {name}") - begins) for name in needed[3:])
    rest = {name: value for name, value in fields.items() if name != "question"}
    known = {**rest, "type": fields["q_type"], "action_frames": [first, end - 1]}
    return Item(video, key, fields["question"], (), folder, known)


def _clip_start(video: str, where: str) -> int:
    """Seconds from the start of the film to the start of the clip, from the id's ending "MMSS_MMSS"."""
    found = re.fullmatch(r"([0-9]{2})([0-9]{2})_[0-9]{4}", video[-9:])
    if not found:
        raise InputError(f"{where}: expected a video's id that ends in its span, such as 0130_0145; got {video[-9:]!r}")
    return 60 * int(found[1]) + int(found[2])


def _seconds(text: Any, where: str) -> int:
    """ "1:05" or "0:01:05" in seconds."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,6}(:[0-9]{1,2}){0,2}", text):
        raise InputError(f'{where}: expected a time such as "1:05", got {text!r}')
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def _by_index(folder: Path) -> dict[int, Path]:
    """Masks by the frame's index in the clip: `frame_000007.png`, the more frequent form, or else `0000007.png`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of PNG masks; there is none")
    found: dict[int, Path] = {}
    for name, path in frame_files(folder).items():
        number = re.fullmatch(r"(frame_)?([0-9]{1,9})", name)
        if number and (number[1] or int(number[2]) not in found):
            found[int(number[2])] = path
    return found


def _object(path: Path, value: int, size: tuple[int, int]) -> bytes:
    labels = read_labels(path)
    if labels.shape != size:
        (h, w), (height, width) = labels.shape, size
        raise InputError(f"{path}: expected a mask of {width}x{height} like the frames, got {w}x{h}")
    return encode(labels == value)
