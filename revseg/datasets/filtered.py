"""A dataset without the videos that the data filter left out, by reference to the filter's file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from revseg.datasets.filter_file import FilterFile
from revseg.datasets.video_ids import video_ids
from revseg.errors import InputError, SpecError
from revseg.masks.rle import brief
from revseg.registry import build, options_of, register, registry, spec_of
from revseg.spec import read_spec
from revseg.types import Dataset, ListsSamples, Query, Sample


@register("dataset", "filtered")
class Filtered:
    """The samples of a dataset whose videos passed `revseg filter`, in the dataset's order.

    A part of a mixture can be filtered, and a mixture as a whole, when the filter has judged the mixture.

    Options:
        of: the dataset, as its spec.
        by: the file that `revseg filter` wrote about it.
        threshold: the mean IoU that a video needs. Default: the one in the file.
    """

    def __init__(self, *, of: Any, by: str | Path, threshold: float | None = None) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"expected a threshold in [0, 1], got {threshold}")
        file = FilterFile.open(by)
        if not file.finished:
            raise InputError(
                f"{by} is not finished: {file.judged} of {file.header['videos']} videos are judged; run "
                "`revseg filter` again to continue it"
            )
        self.dataset: Dataset = build("dataset", of)
        length = file.header["dataset_length"]
        if identity(spec_of(of)) != identity(file.header["dataset"]) or length != len(self.dataset):
            raise InputError(
                f"{by} is the filter of another dataset: {brief(file.header['dataset'], 200)} with {length} samples, "
                f"not {brief(spec_of(of), 200)} with {len(self.dataset)}; run `revseg filter` on this one"
            )
        kept = set(file.kept(threshold))
        ids = video_ids(self.dataset)
        unknown = next((video for video in ids if video not in file.scores and video not in file.unreadable), None)
        if unknown is not None:
            raise InputError(f"{by} has no score of the video {unknown!r}; run `revseg filter` on this dataset")
        self.indices = tuple(index for index, video in enumerate(ids) if video in kept)
        self._ids = ids

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def video_ids(self) -> list[str]:
        """The id of each sample's video."""
        return [self._ids[index] for index in self.indices]

    def listed(self, index: int) -> tuple[str, Query, Mapping[str, Any]]:
        """Ids, query and meta of a sample that cannot be read, where the dataset lists them (`ListsSamples`)."""
        if not isinstance(self.dataset, ListsSamples):
            raise InputError("the dataset does not list its samples apart from reading them")
        return self.dataset.listed(self.indices[index])


def identity(spec: Any) -> Any:
    """What a dataset's spec means, in one form however it is written.

    Without `root`, since folders may lie elsewhere, and without options that have their default value.
    """
    if not isinstance(spec, str | Mapping):
        return spec
    try:
        name, options = read_spec("dataset", spec)
        known = options_of(registry("dataset").get(name)) if ":" not in name else {}
    except SpecError:  # such as {"object": ...}, of a dataset that was passed as an object
        return spec
    default = {option: parameter.default for option, parameter in known.items()}
    found = {key: value for key, value in options.items() if key != "root" and default.get(key, ...) != value}
    if "of" in found:
        several = isinstance(found["of"], Sequence) and not isinstance(found["of"], str)
        found["of"] = [identity(one) for one in found["of"]] if several else identity(found["of"])
    return {"name": name, **found}
