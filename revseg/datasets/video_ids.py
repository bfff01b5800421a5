"""Which video each sample of a dataset is about."""

from revseg.types import Dataset, HasVideoIds


def video_ids(dataset: Dataset) -> list[str]:
    """The id of each sample's video; samples are read where the dataset does not list them."""
    if isinstance(dataset, HasVideoIds):
        return list(dataset.video_ids())
    return [dataset[index].video.id for index in range(len(dataset))]
