"""Two signs that masks are stored for other frames than they belong to."""

import numpy as np

from revseg.masks import MaskTrack
from revseg.video import Video


def first_frames_only(track: MaskTrack, stride: int) -> bool:
    """Whether masks are on the first frames only, no more of them than there are frames 0, stride, 2*stride...

    Masks of every `stride`-th frame look like this if they were stored one after the other.
    """
    visible = np.flatnonzero(track.visible)
    room = -(-len(track) // stride)
    return len(track) > stride and len(visible) > 0 and bool(visible[-1] < room)


def displaced(video: Video, track: MaskTrack, stride: int, *, looks: int = 6, margin: float = 1.5) -> bool:
    """Whether mask outlines match edges clearly better on the frames stride*i than on their own frames i.

    `looks` is the number of masks compared, `margin` the ratio of `edge_contrast` that is needed.
    """
    known = track.union()
    steps = [i for i in np.flatnonzero(known.visible).tolist() if i > 0 and i * stride < len(video)][:looks]
    if not steps or known.size != video.size or len(known) != len(video):
        return False
    masks = known.dense(steps)[0]
    own = [edge_contrast(frame, mask) for frame, mask in zip(video.read(steps), masks, strict=True)]
    there = video.read([i * stride for i in steps])
    other = [edge_contrast(frame, mask) for frame, mask in zip(there, masks, strict=True)]
    return bool(np.mean(other) > margin * np.mean(own) and np.mean(other) > margin)


def edge_contrast(frame: np.ndarray, mask: np.ndarray) -> float:
    """The mean gradient magnitude along the mask's outline, divided by the mean over the whole picture.

    `frame` is uint8[h w 3], `mask` bool[h w]. 1 if there is no outline or no gradient.
    """
    grey = frame.astype(np.float32).mean(-1)
    strength = np.zeros_like(grey)
    down, right = np.abs(np.diff(grey, axis=0)), np.abs(np.diff(grey, axis=1))
    strength[:-1] += down
    strength[:, :-1] += right
    outline = np.zeros_like(mask)
    outline[:-1] |= mask[:-1] != mask[1:]
    outline[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    if not outline.any() or not strength.any():
        return 1.0
    return float(strength[outline].mean() / strength.mean())
