"""From samples to rows. A sample that crashes becomes a row with its error; the run goes on."""

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np

from revseg import checked
from revseg.errors import InputError, RunStopped
from revseg.masks import MaskTrack
from revseg.pipeline import ReVSeg, Segmentation
from revseg.serialise import record_of
from revseg.types import (
    Dataset,
    HasForeground,
    HasObjects,
    HasVoid,
    ListsSamples,
    RewardBreakdown,
    Rollout,
    Sample,
)

Timings = dict[str, float]


def build_parts(model: ReVSeg) -> None:
    """Build every part, so that a wrong spec is an error before the first row instead of a crash in each."""
    assert model.built_policy is not None
    assert model.built_tracker is not None
    assert model.built_plan is not None
    assert model.built_sampler is not None
    assert model.built_rewards is not None


def make_rows(model: ReVSeg, data: Dataset, indices: Sequence[int], batch: int = 1) -> Iterator[dict[str, Any]]:
    """One row per index, in order; the policy is asked about `batch` samples at a time."""
    for start in range(0, len(indices), batch):
        yield from _batch(model, data, indices[start : start + batch])


def _batch(model: ReVSeg, data: Dataset, indices: Sequence[int]) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    loaded: dict[int, tuple[Sample, Timings]] = {}
    for index in indices:
        found = load(data, index)
        if isinstance(found, dict):
            rows[index] = found
        else:
            loaded[index] = found
    for index, (rollout, seconds) in _rollouts(model, {i: s for i, (s, _) in loaded.items()}).items():
        sample, timings = loaded[index]
        timings["rollout"] = seconds
        rows[index] = finish(model, index, sample, rollout, timings)
    return [rows[index] for index in indices]


def load(data: Dataset, index: int) -> tuple[Sample, Timings] | dict[str, Any]:
    """A sample with what scoring needs, or the row of a sample that cannot be read."""
    began = time.perf_counter()
    try:
        sample = checked.sample(data, data[index], index)
        checked.truth(sample.truth, sample.video, sample.query)
        sample = replace(sample, meta={**sample.meta, **_for_scoring(data, sample)})
        return sample, {"load": time.perf_counter() - began}
    except Exception as error:
        return {**_row(index, error=error), **_listed(data, index)}


def _for_scoring(data: Any, sample: Sample) -> dict[str, Any]:
    """What some protocols need to know about the whole video, from optional methods of the dataset.

    `void(video id)` gives "void", the pixels to ignore, a `MaskTrack` (Ref-DAVIS17, protocol A); `objects` gives
    "counted", the masks of all objects that count, described or not; `foreground` gives "foreground_areas", the pixels
    of all annotated objects on each frame of the truth (ReVOS, the official R).
    """
    video, truth = sample.meta.get("video", sample.video.id), sample.truth
    found: dict[str, Any] = {}
    if truth is not None and isinstance(data, HasVoid):
        found["void"] = data.void(video)
        counted = data.objects(video) if isinstance(data, HasObjects) else None
        found |= {"counted": counted} if counted is not None and counted.objects else {}
    if truth is not None and isinstance(data, HasForeground):
        try:
            foreground = data.foreground(video)
        except InputError:  # not annotated: only the official R needs it, and reports it
            foreground = None
        if foreground is not None and np.isin(truth.frame_ids, foreground.frame_ids).all():
            found["foreground_areas"] = foreground.at(truth.frame_ids).areas.astype(int).tolist()
    return found


def _listed(data: Any, index: int) -> dict[str, Any]:
    """What the dataset lists about a sample that cannot be read, so that it counts for its type; see `Row`."""
    if not isinstance(data, ListsSamples):
        return {}
    try:
        video, query, meta = data.listed(index)
    except Exception:  # the row has the sample's own error, which is more useful
        return {}
    return {"listed": {"video": video, "query": {"id": query.id, "text": query.text}}, "meta": _plain(meta)}


def _rollouts(model: ReVSeg, samples: Mapping[int, Sample]) -> dict[int, tuple[Rollout | Exception, float]]:
    """The conversation or its error by index; when a batch fails, its samples are asked one by one."""
    if not samples:
        return {}
    began = time.perf_counter()
    try:
        groups = model.rollouts(list(samples.values()))
    except RunStopped:
        raise
    except Exception as error:
        if len(samples) == 1:
            return {index: (error, time.perf_counter() - began) for index in samples}
        return {i: found for index in samples for i, found in _rollouts(model, {index: samples[index]}).items()}
    seconds = (time.perf_counter() - began) / len(samples)
    return {index: (group[0], seconds) for index, group in zip(samples, groups, strict=True)}


def finish(model: ReVSeg, index: int, sample: Sample, rollout: Rollout | Exception, timings: Timings) -> dict[str, Any]:
    """The row of a conversation, tracked and scored, or of its error."""
    if isinstance(rollout, Exception):
        return _row(index, sample, timings=timings, error=rollout)
    masks = rewards = None
    try:
        began = time.perf_counter()
        masks = _masks(model, sample, rollout)
        timings["track"] = time.perf_counter() - began
        began = time.perf_counter()
        rewards = _rewards(model, sample, rollout)
        timings["score"] = time.perf_counter() - began
    except Exception as error:
        empty = MaskTrack.empty(sample.video.size, [])
        result = Segmentation(rollout, empty if masks is None else masks)
        return _row(index, sample, result, masks, timings, error)
    return _row(index, sample, Segmentation(rollout, masks, rewards), masks, timings)


def row_of_masks(index: int, sample: Sample, masks: MaskTrack | None) -> dict[str, Any]:
    """The row of a prediction from elsewhere, without a conversation; None: the query has no prediction."""
    row = _row(index, sample, masks=masks)
    return row if masks is not None else {**row, "failure": "no_prediction"}


def _rewards(model: ReVSeg, sample: Sample, rollout: Rollout) -> RewardBreakdown | None:
    return model.score(rollout, sample.truth) if judgeable(sample.truth, rollout) else None


def judgeable(truth: MaskTrack | None, rollout: Rollout) -> TypeGuard[MaskTrack]:
    """True when each frame shown has a truth, which rewards need; datasets with sparse masks have some without."""
    return truth is not None and bool(np.isin(rollout.frame_ids, truth.frame_ids).all())


def _masks(model: ReVSeg, sample: Sample, rollout: Rollout) -> MaskTrack:
    return model.track(sample, rollout)


def _row(
    index: int,
    sample: Sample | None = None,
    result: Segmentation | None = None,
    masks: MaskTrack | None = None,
    timings: Timings | None = None,
    error: Exception | None = None,
) -> dict[str, Any]:
    # "index" and "failure" stay first: `results` finds them by a regular expression, without reading the whole row.
    row: dict[str, Any] = {"index": index, "failure": None, "detail": ""}
    if sample is not None:
        video = sample.video
        row["video"] = {"id": video.id, "size": list(video.size), "fps": video.fps, "frames": len(video)}
        row["query"] = {"id": sample.query.id, "text": sample.query.text}
    if sample is not None and result is not None:
        record = record_of(result, sample.video)
        row |= {key: value for key, value in record.items() if key not in ("scores", "spec", "versions")}
        row["failure"] = result.rollout.error
        row["detail"] = result.rollout.detail
    if error is not None:
        row["failure"] = row["status"] = f"crash:{type(error).__name__}"
        row["detail"] = "".join(traceback.format_exception(error))
    row["masks"] = None if masks is None else masks.to_dict()
    row["truth"] = None if sample is None or sample.truth is None else sample.truth.to_dict()
    row["meta"] = {} if sample is None else _plain(sample.meta)
    row["timings"] = {name: round(seconds, 4) for name, seconds in (timings or {}).items()}
    return row


def _plain(value: Any) -> Any:
    """As JSON: mask tracks by `to_dict`, arrays as lists, other objects as text."""
    if isinstance(value, MaskTrack):
        return value.to_dict()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [_plain(item) for item in items]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
