"""Files of a benchmark: paths that stay below its root, its lists of expressions, frame folders as videos."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg.errors import InputError, VideoError
from revseg.untrusted.reading import read_json
from revseg.video import FOLDER_FPS, FolderReader, Video, picture_files, read_picture, same_name


def inside(root: Path, *names: Any) -> Path:
    """`root/name/...` for names that come from data, such as the video id "UVO/all/-CiPki3XuVI".

    A name may contain slashes. InputError if one is empty, absolute or contains `..`: nothing may leave the root.
    """
    path = root
    for name in names:
        parts = str(name).split("/")
        if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\\0]|^[A-Za-z]:", str(name)):
            raise InputError(f"expected a name below {root}, such as a1b2 or TAO/a1b2; got {name!r}")
        path = path.joinpath(*parts)
    return path


def existing(path: Path, what: str) -> Path:
    """The path; InputError, saying `what` was expected, if it does not exist."""
    if not path.exists():
        raise InputError(f"{path}: expected {what}; there is no such file or folder")
    return path


def read_videos(path: Path) -> dict[str, dict[str, Any]]:
    """`videos` of a `meta_expressions.json`: per video id an entry with `frames` and `expressions`."""
    data = read_json(path, "the expressions")
    videos = data.get("videos") if isinstance(data, Mapping) else None
    if not isinstance(videos, dict):
        raise InputError(f'{path}: expected {{"videos": {{id: {{"frames": [...], "expressions": ...}}}}}}')
    for video, entry in videos.items():
        complete = isinstance(entry, dict) and isinstance(entry.get("expressions"), dict | list)
        if not complete or not isinstance(entry.get("frames"), list):
            raise InputError(f'{path}: video {video!r}: expected {{"frames": [...], "expressions": ...}}')
    return videos


def expressions_of(path: Path, video: str, entry: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(expression id, its fields with the text as `exp`), in the file's order. InputError for one without text."""
    listed = entry["expressions"]
    pairs = list(listed.items()) if isinstance(listed, dict) else [(None, fields) for fields in listed]
    found = []
    for number, (key, fields) in enumerate(pairs):
        text = fields.get("exp", fields.get("exp_text")) if isinstance(fields, dict) else None
        if not isinstance(text, str):
            raise InputError(f'{path}: video {video!r}, expression {key or number}: expected {{"exp": text, ...}}')
        name = str(fields.get("exp_id", number) if key is None else key)
        rest = {k: v for k, v in fields.items() if k not in ("exp", "exp_text", "exp_id")}
        found.append((name, {"exp": text, **rest}))
    return found


def frame_files(folder: Path) -> dict[str, Path]:
    """A folder's pictures by name without suffix. VideoError if there is no such folder, or two have one name."""
    try:
        found = picture_files(folder)
    except OSError as error:
        raise VideoError(f"{folder}: expected a folder of frames; there is none") from error
    twice = same_name(found)
    if twice is not None:
        raise VideoError(
            f"{folder}: expected one picture of each name, found {twice[0].name} and {twice[1].name}; "
            "move masks to another folder"
        )
    return {path.stem: path for path in found}


def open_frames(video: str, folder: Path, frames: Sequence[str], fps: float | None = None) -> Video:
    """The listed frames of a folder as a video: frame i is `frames[i]`, whatever else is in the folder.

    Reads one picture, for the size. VideoError if a listed frame is missing.
    """
    files = frame_files(folder)
    missing = [frame for frame in frames if frame not in files]
    if missing or not frames:
        what = f"no {missing[0]}.jpg" if missing else "no frame in the list"
        raise VideoError(
            f"{folder}: expected the {len(frames)} listed frames, {len(missing)} are missing: there is {what}"
        )
    paths = tuple(files[frame] for frame in frames)
    height, width, _ = read_picture(paths[0]).shape
    return Video(video, (height, width), fps or FOLDER_FPS, len(paths), FolderReader(paths, (height, width)))
