"""The four text files of Ref-DAVIS17: lines such as `boat 1 "a white boat"`."""

import re
from pathlib import Path

from revseg.datasets.layout import existing
from revseg.errors import InputError

FILES = {
    "a1-first": "Davis17_annot1.txt",
    "a1-full": "Davis17_annot1_full_video.txt",
    "a2-first": "Davis17_annot2.txt",
    "a2-full": "Davis17_annot2_full_video.txt",
}
MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
LINE = re.compile(r"(?P<video>\S+)\s+(?P<object>[0-9]+)\s+(?P<text>.+)")


def read_expressions(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Per video its (object id, text), in the file's order, with video names corrected. One of the files is Latin-1.

    InputError, with file and line, for anything of another form.
    """
    data = existing(path, "the expressions of one annotator").read_bytes()
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = data.decode("latin-1")
    found: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f'{path}, line {number}: expected a line such as boat 1 "a white boat", got {line!r}')
        video = MISSPELT.get(match["video"], match["video"])
        found.setdefault(video, []).append((match["object"], match["text"].strip().strip('"').strip()))
    return found
