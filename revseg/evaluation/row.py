"""One line of a results file: a row, out and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.masks.rle import brief
from revseg.serialise import rollout_from
from revseg.types import Rollout
from revseg.untrusted.reading import checked, parse_json


@dataclass(frozen=True, eq=False)
class Row:
    """One (video, query); `data` is its JSON object.

    Keys of `data`:

    - "index": of the sample in the dataset;
    - "failure": None, "round 1: no_json", or "crash:ValueError" when our code broke; "detail": its explanation;
    - "video": id, size, fps, frames; "query": id, text;
    - "status"; "ended": what ended the conversation if it was not a reply;
    - "frame_ids", "frame_size": what the policy saw first;
    - "rounds": of each the prompt, what it asks for, the reply, why it ended, the answer with its error and form, and
      how many rounds had to follow; "due_rounds"; "form";
    - "groundings", "objects", "visible_frames"; "rewards": None unless every sampled frame has a truth;
    - "masks", "truth": as `MaskTrack.to_dict`; "meta": of the sample;
    - "timings": in seconds, the only key that differs between two runs of the same model.

    A crash leaves None for what it prevented. A sample that could not be read has no "video" and "query", but "listed":
    the ids and the text, if its dataset knows them without reading the sample.
    """

    data: Mapping[str, Any]
    where: str = ""  # the file and the row, for errors

    def __repr__(self) -> str:
        return f"Row({self.index}, {self.video!r}, {self.query!r}, {self.failure or self.data.get('status')})"

    @property
    def index(self) -> int:
        return int(self.data["index"])

    @property
    def failure(self) -> str | None:
        return self.data.get("failure")

    @property
    def crashed(self) -> bool:
        """True when our code broke on this sample; a reply that did not parse is no crash."""
        return (self.failure or "").startswith("crash:")

    @property
    def loaded(self) -> bool:
        """False when the sample could not be read."""
        return bool(self.data.get("video"))

    @property
    def cut_off(self) -> bool:
        """True when a reply ended at the token limit instead of by itself."""
        return any(turn.get("finish_reason") == "length" for turn in self.data.get("rounds") or [])

    @property
    def video(self) -> str | None:
        """The video's id; None when the sample could not be read and its dataset does not list it."""
        return (self.data.get("video") or {}).get("id", self._listed.get("video"))

    @property
    def query(self) -> str | None:
        """The query's id, or None, as for `video`."""
        return self._query.get("id")

    @property
    def text(self) -> str:
        return self._query.get("text", "")

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.data.get("meta") or {}

    @property
    def _listed(self) -> Mapping[str, Any]:
        listed = self.data.get("listed")
        return listed if isinstance(listed, Mapping) else {}

    @property
    def _query(self) -> Mapping[str, Any]:
        return self.data.get("query") or self._listed.get("query") or {}

    @cached_property
    def masks(self) -> MaskTrack | None:
        """The predicted masks on every frame; None if a crash prevented them. InputError when they are damaged."""
        return self._track("masks")

    @cached_property
    def truth(self) -> MaskTrack | None:
        return self._track("truth")

    @cached_property
    def rollout(self) -> Rollout | None:
        """The conversation without its pixels (`serialise.rollout_from`); None if a crash prevented it.

        InputError when it is damaged.
        """
        return None if self.data.get("rounds") is None else rollout_from(self.data, self.where or "the row")

    def _track(self, key: str) -> MaskTrack | None:
        data = self.data.get(key)
        return None if data is None else MaskTrack.from_dict(data, f"{self.where}: {key}" if self.where else key)


def to_line(data: Mapping[str, Any]) -> bytes:
    """One line of a results file. ASCII, so that no reply of a model can break it."""
    return json.dumps(data, ensure_ascii=True).encode("ascii") + b"\n"


def row_from(line: bytes | Mapping[str, Any], file: Path, index: Any) -> Row:
    """The row of a line, or of its parsed JSON. InputError for a wrong field; masks are checked when used."""
    from revseg.untrusted.record_types import RowFields

    where = f"{file}: row {brief(index)}"
    data = parse_line(line, file) if isinstance(line, bytes) else line
    return Row(checked(data, RowFields, where), where)


def parse_line(line: bytes, file: Path) -> dict[str, Any]:
    """A line's JSON object. InputError for anything else."""
    data = parse_json(line, str(file), "one JSON object a line")
    if not isinstance(data, dict):
        raise InputError(f"{file}: expected one JSON object a line, got {brief(line)}")
    return data
