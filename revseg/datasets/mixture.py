"""Several datasets as one: the paper trains on five, each query once per epoch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from revseg.datasets.presets import preset as datasets_of
from revseg.datasets.video_ids import video_ids
from revseg.errors import InputError
from revseg.registry import build, origin, read_spec, register
from revseg.types import Dataset, ListsSamples, Query, Sample


@register("dataset", "mixture")
class Mixture:
    """The samples of several datasets, one dataset after the other. Training shuffles them once per epoch.

    Ids of videos and queries get the name of their part as a prefix ("mevis/..."), so that equal ids of two datasets
    stay apart; `meta` says it under "part". An epoch holds every sample once, unless there are weights.

    Options:
        of: the datasets, as specs.
        preset: "paper" instead of `of`: the train parts of Ref-YouTube-VOS, MeViS (version 1), Ref-DAVIS17, ReVOS and
            LV-VIS, each in a folder of its name below `root`.
        root: the folder that holds the datasets of a preset.
        weights: how often the samples of each dataset occur in an epoch: 2 for twice, 0.5 for every second sample of a
            fixed random choice, 0 for none. Default: 1 for each.
        seed: of that choice.
    """

    def __init__(
        self,
        *,
        of: Sequence[Any] = (),
        preset: str | None = None,
        root: str = "",
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.names, self.parts = _parts(of, preset, root)
        self._items = np.concatenate(
            [
                np.stack([np.full(len(chosen), part), chosen], 1)
                for part, chosen in enumerate(_chosen([len(part) for part in self.parts], weights, seed))
            ]
        )

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        part, item = self._items[range(len(self))[index]].tolist()
        sample = self.parts[part][item]
        name = self.names[part]
        return replace(
            sample,
            video=replace(sample.video, id=f"{name}/{sample.video.id}"),
            query=replace(sample.query, id=f"{name}/{sample.query.id}"),
            meta={**sample.meta, "part": name},
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"Mixture({', '.join(f'{name}: {n}' for name, n in self.counts.items())})"

    @property
    def counts(self) -> dict[str, int]:
        """How many samples of each dataset an epoch has."""
        times = np.bincount(self._items[:, 0], minlength=len(self.names)).tolist()
        return dict(zip(self.names, times, strict=True))

    def video_ids(self) -> list[str]:
        """The id of each sample's video."""
        ids = [video_ids(part) for part in self.parts]
        return [f"{self.names[part]}/{ids[part][item]}" for part, item in self._items.tolist()]

    def listed(self, index: int) -> tuple[str, Query, dict[str, Any]]:
        """Ids, query and meta of a sample that cannot be read, where its dataset lists them (`ListsSamples`)."""
        part, item = self._items[index].tolist()
        name, dataset = self.names[part], self.parts[part]
        if not isinstance(dataset, ListsSamples):
            raise InputError(f"{name} does not list its samples apart from reading them")
        video, query, meta = dataset.listed(item)
        return f"{name}/{video}", replace(query, id=f"{name}/{query.id}"), {**meta, "part": name}


def _parts(of: Sequence[Any], preset: str | None, root: str) -> tuple[tuple[str, ...], tuple[Dataset, ...]]:
    if preset is not None and of:
        raise InputError(f"expected either a list of datasets or a preset, got of={list(of)!r} and preset={preset!r}")
    if preset is not None:
        names, parts = datasets_of(preset, root)
        return tuple(names), tuple(parts)
    if isinstance(of, str | Mapping) or not of:
        raise InputError(
            "expected a preset, or a list of datasets to mix, such as of=['shapes:seed=1', 'folder:root=.']; got "
            f"{of!r}"
        )
    if root:
        raise InputError(f"expected root with a preset alone: name it in each dataset of the list; got {root!r}")
    return _names(of), tuple(build("dataset", spec) for spec in of)


def _names(of: Sequence[Any]) -> tuple[str, ...]:
    """The parts' own names; "mevis.2" for the second of a name."""
    names: list[str] = []
    for spec in of:
        name = read_spec("dataset", spec)[0] if isinstance(spec, str | Mapping) else origin(spec)
        name = name.rpartition(":")[2]
        count = 1 + sum(other.partition(".")[0] == name for other in names)
        names.append(name if count == 1 else f"{name}.{count}")
    return tuple(names)


def _chosen(sizes: Sequence[int], weights: Sequence[float] | None, seed: int) -> list[np.ndarray]:
    """Per part int64[n]: its samples in order, as often as the weight says."""
    rates = [1.0] * len(sizes) if weights is None else list(weights)
    if len(rates) != len(sizes):
        raise InputError(f"expected one weight per dataset, {len(sizes)}; got {len(rates)}")
    if not all(0 <= rate < float("inf") for rate in rates):
        raise InputError(f"expected weights of 0 or more, got {rates}")
    chosen = []
    for part, (size, rate) in enumerate(zip(sizes, rates, strict=True)):
        whole, share = divmod(rate, 1)
        some = np.random.default_rng([seed, part]).permutation(size)[: round(share * size)]
        chosen.append(np.concatenate([np.tile(np.arange(size), int(whole)), np.sort(some)]))
    return chosen
