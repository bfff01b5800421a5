"""Do masks lie on the frames that they are stored for? Two signs of a displaced annotation."""

import numpy as np

from revseg.masks import MaskTrack
from revseg.video import Video


def first_frames_only(track: MaskTrack, stride: int) -> bool:
    """True when masks are on the first frames alone and at most as many as there are frames 0, stride, 2*stride...

    That is how masks of every `stride`-th frame look when they were stored one after the other.
    """
    visible = np.flatnonzero(track.visible)
    room = -(-len(track) // stride)
    return len(track) > stride and len(visible) > 0 and bool(visible[-1] < room)


def displaced(video: Video, track: MaskTrack, stride: int, *, looks: int = 6, margin: float = 1.5) -> bool:
    """True when the outlines of the masks meet clearly more edges on the frames stride*i than on their own frames i."""
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
    """Mean gradient of the picture along the outline of the mask over the mean of the whole picture; 1 when alike.

    `frame` is uint8[h w 3], `mask` bool[h w]; 1 too when there is no outline or no gradient.
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
