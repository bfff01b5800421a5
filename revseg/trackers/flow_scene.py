"""What the frames of real footage have in common: a small working size, the motion between them, the still background.

The *plate* is the median of some frames of the whole video, laid over one another by the camera's motion. Where a
frame differs from it, something has moved. A camera that moves too freely for that has no plate.
"""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, UInt8

from revseg.video import Video

COLOUR_BINS = 4096
_SAMPLES = 25  # frames behind a plate


class Plate:
    """The still background of a video, at the working size, and how much each of its pixels flickers."""

    def __init__(self, picture: UInt8[np.ndarray, "h w 3"], flicker: Float32[np.ndarray, "h w"]) -> None:
        import cv2

        self._picture = picture
        self._flicker = flicker
        self._gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        self._points = cv2.goodFeaturesToTrack(self._gray, 150, 0.01, 8)

    @staticmethod
    def of(video: Video, width: int) -> "Plate | None":
        """The plate of a video; None when its frames cannot be laid over one another."""
        import cv2

        ids = np.unique(np.linspace(0, len(video) - 1, _SAMPLES).astype(int))
        frames = list(_small_frames(video, ids, width))
        middle = frames[len(frames) // 2]
        still = Plate(middle, np.zeros(middle.shape[:2], np.float32))
        laid = []
        for frame in frames:
            motion = still.motion_to(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
            if motion is not None:
                back = cv2.invertAffineTransform(motion)
                laid.append(cv2.warpAffine(frame, back, middle.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))
        if len(laid) < 0.7 * len(frames) or len(laid) < 5:
            return None
        stack = np.stack(laid)
        picture = np.median(stack, axis=0)
        flicker = np.median(np.abs(stack - picture).max(-1), axis=0)
        return Plate(picture.astype(np.uint8), flicker.astype(np.float32))

    def motion_to(self, gray: UInt8[np.ndarray, "h w"]) -> np.ndarray | None:
        """float[2 3]: where the plate's pixels are on a frame (shift, turn and zoom); None when that is not found."""
        import cv2

        if self._points is None or len(self._points) < 12:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(self._gray, gray, self._points, np.empty_like(self._points))
        ok = found.ravel() == 1
        if np.count_nonzero(ok) < 12:
            return None
        cv2.setRNGSeed(0)
        motion, inliers = cv2.estimateAffinePartial2D(self._points[ok], moved[ok], ransacReprojThreshold=1.5)
        if motion is None or inliers.sum() < 0.35 * len(self._points):
            return None
        return motion

    def seen_from(self, motion: np.ndarray) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
        """Picture and flicker as the camera of a frame would show them; flicker is huge where the plate has nothing."""
        import cv2

        size = self._gray.shape[::-1]
        picture = cv2.warpAffine(self._picture, motion, size, borderMode=cv2.BORDER_REPLICATE)
        flicker = cv2.warpAffine(self._flicker, motion, size, borderMode=cv2.BORDER_CONSTANT, borderValue=255)
        return picture, flicker


class Scene:
    """A video as real footage: the working width, and its plate, made when it is first asked for."""

    def __init__(self, video: Video, width: int) -> None:
        self._video = video
        self.width = width

    @functools.cached_property
    def plate(self) -> Plate | None:
        return Plate.of(self._video, self.width)


class View:
    """One frame at the working size, with its relation to the frame before and to the plate, worked out when asked."""

    def __init__(self, frame: UInt8[np.ndarray, "H W 3"], before: "View | None", scene: Scene) -> None:
        self.frame = frame
        self.size = frame.shape[:2]
        self._before = before
        self._scene = scene
        if before is not None:
            before._before = None  # or the chain would hold the whole video

    @functools.cached_property
    def rgb(self) -> UInt8[np.ndarray, "h w 3"]:
        return small(self.frame, self._scene.width)

    @functools.cached_property
    def gray(self) -> UInt8[np.ndarray, "h w"]:
        import cv2

        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)

    @functools.cached_property
    def bins(self) -> np.ndarray:
        """int[h w]: the bin of each pixel's colour."""
        return colour_bins(self.rgb)

    @functools.cached_property
    def motion(self) -> np.ndarray | None:
        """float[2 3]: where the plate's pixels are on this frame; None without a plate."""
        return self._scene.plate.motion_to(self.gray) if self._scene.plate else None

    @functools.cached_property
    def foreground(self) -> Float32[np.ndarray, "h w"] | None:
        """In [0, 1]: how sure it is that a pixel is not the still background; None without a plate."""
        import cv2

        if self._scene.plate is None or self.motion is None:
            return None
        picture, flicker = self._scene.plate.seen_from(self.motion)
        one, other = cv2.GaussianBlur(self.rgb, (0, 0), 1.0), cv2.GaussianBlur(picture, (0, 0), 1.0)
        difference = cv2.absdiff(one, other).astype(np.float32).max(-1)
        excess = (difference - 2.0 * np.minimum(flicker, 100.0) - 12.0) / 12.0
        return (1 / (1 + np.exp(-excess))).astype(np.float32)

    @functools.cached_property
    def flow(self) -> Float32[np.ndarray, "h w 2"] | None:
        """x, y: where each pixel was on the frame before."""
        import cv2

        if self._before is None:
            return None
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # pyright: ignore[reportAttributeAccessIssue]
        flow = dis.calc(self.gray, self._before.gray, None)
        h, w = self.gray.shape
        flow[..., 0] += np.arange(w, dtype=np.float32)
        flow[..., 1] += np.arange(h, dtype=np.float32)[:, None]
        return flow

    def to_plate(self, mask: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """A mask of this frame in the plate's coordinates."""
        import cv2

        if self.motion is None:
            return mask.astype(np.float32)
        return cv2.warpAffine(mask.astype(np.float32), cv2.invertAffineTransform(self.motion), self.gray.shape[::-1])

    def from_plate(self, mask: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """A mask in the plate's coordinates, on this frame."""
        import cv2

        return mask if self.motion is None else cv2.warpAffine(mask, self.motion, self.gray.shape[::-1])


def small(frame: UInt8[np.ndarray, "H W 3"], width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A frame at the working width, unless it is smaller already."""
    import cv2

    h, w = frame.shape[:2]
    if w <= width:
        return np.ascontiguousarray(frame)
    return cv2.resize(frame, (width, max(round(h * width / w), 16)), interpolation=cv2.INTER_AREA)


def colour_bins(rgb: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """int[h w]: the bin of each pixel in a colour histogram, 16 x 16 x 16 in Lab, lightness the coarser half."""
    import cv2

    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.int32)
    chroma = np.clip((lab[..., 1:] - 64) >> 3, 0, 15)
    return (lab[..., 0] >> 4) * 256 + chroma[..., 0] * 16 + chroma[..., 1]


def _small_frames(video: Video, ids: np.ndarray, width: int) -> Iterator[np.ndarray]:
    for i in ids:
        yield small(video.read([int(i)])[0], width)
