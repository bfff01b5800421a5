"""What a dataset may have beside its samples."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from revseg.masks import MaskTrack
from revseg.types.conversation import Query
from revseg.types.results import Sample


@runtime_checkable
class ListsSamples(Protocol):
    """A dataset that knows a sample by its files' lists alone, for one that cannot be read."""

    def listed(self, index: int, /) -> tuple[str, Query, Mapping[str, Any]]:
        """The video's id, the query and the meta."""
        ...


@runtime_checkable
class HasVoid(Protocol):
    """A dataset with pixels to ignore (Ref-DAVIS17, protocol A)."""

    def void(self, video: str, /) -> MaskTrack: ...


@runtime_checkable
class HasObjects(HasVoid, Protocol):
    """Beside the pixels to ignore, the masks of all objects that count, described or not."""

    def objects(self, video: str, /) -> MaskTrack: ...


@runtime_checkable
class HasForeground(Protocol):
    """A dataset with all annotated objects of a video as one (ReVOS, the official R); None where there are none."""

    def foreground(self, video: str, /) -> MaskTrack | None: ...


@runtime_checkable
class HasSource(Protocol):
    """A dataset's class that knows where its files can be had."""

    source: str  # address, size and licence


@runtime_checkable
class HasCounts(Protocol):
    """A dataset of several parts that knows how many samples it has of each."""

    @property
    def counts(self) -> Mapping[str, int]: ...


@runtime_checkable
class HasVideoIds(Protocol):
    """A dataset that knows its videos without reading them."""

    def video_ids(self) -> Sequence[str]:
        """The id of each sample's video."""
        ...


@runtime_checkable
class HasExpectedCounts(Protocol):
    """A dataset whose official size is known."""

    def expected_counts(self) -> Mapping[str, int]:
        """The numbers of "videos" and "expressions", as far as they are known."""
        ...


@runtime_checkable
class HasExcluded(Protocol):
    """A dataset from which the user has excluded samples."""

    excluded: int  # how many


@runtime_checkable
class HasFaults(Protocol):
    """A dataset that knows its own faults."""

    def faults(self, sample: Sample, /) -> Sequence[str]:
        """What is known to be wrong in this benchmark and is wrong in this sample, in one sentence each."""
        ...
