"""What trackers of real footage share per video: the working size, the camera's motion, the still background.

The *plate* is the median of some frames of the whole video, aligned by the camera's motion. Where a frame differs from
it, something has moved. When the camera moves too much for the frames to be aligned there is no plate.
"""

import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, UInt8

from revseg.video import Video

COLOUR_BINS = 4096
_SAMPLES = 25  # frames of which a plate is made


class Plate:
    """The still background of a video at the working size, and the median deviation (flicker) of each pixel from it."""

    def __init__(
        self,
        picture: UInt8[np.ndarray, "h w 3"],
        flicker: Float32[np.ndarray, "h w"],
        motions: Mapping[int, np.ndarray],
    ) -> None:
        import cv2

        self._low = cv2.erode(picture, np.ones((3, 3), np.uint8))
        self._high = cv2.dilate(picture, np.ones((3, 3), np.uint8))
        self._flicker = flicker
        self._motions = motions
        self._gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        self._points = cv2.goodFeaturesToTrack(self._gray, 300, 0.005, 6)

    @staticmethod
    def of(video: Video, width: int) -> "Plate | None":
        """The plate of a video; None when its frames cannot be aligned."""
        import cv2

        ids = np.unique(np.linspace(0, len(video) - 1, _SAMPLES).astype(int)).tolist()
        frames = {i: small(video.read([i])[0], width) for i in ids}
        middle = len(ids) // 2
        picture = frames[ids[middle]]
        flicker = np.zeros(picture.shape[:2], np.float32)
        motions = {ids[middle]: np.eye(2, 3)}
        anchor = Plate(picture, flicker, motions)
        # outwards from the middle frame, so that each estimate starts from its neighbour's motion
        for i in [*reversed(ids[:middle]), *ids[middle + 1 :]]:
            motion = anchor.motion_to(cv2.cvtColor(frames[i], cv2.COLOR_RGB2GRAY), i)
            if motion is not None:
                motions[i] = motion
        if len(motions) < max(5, 0.7 * len(ids)):
            return None
        backs = {i: cv2.invertAffineTransform(motion) for i, motion in motions.items()}
        size = picture.shape[1::-1]
        aligned = [cv2.warpAffine(frames[i], back, size, borderMode=cv2.BORDER_REPLICATE) for i, back in backs.items()]
        stack = np.stack(aligned)
        picture = np.median(stack, axis=0)
        flicker = np.median(np.abs(stack - picture).max(-1), axis=0)
        return Plate(picture.astype(np.uint8), flicker.astype(np.float32), motions)

    def motion_to(self, gray: UInt8[np.ndarray, "h w"], frame_id: int) -> np.ndarray | None:
        """float[2 3]: the similarity transform from the plate to a frame; None when it cannot be estimated."""
        import cv2

        if self._points is None or len(self._points) < 12:
            return None
        near = self._motions[min(self._motions, key=lambda i: abs(i - frame_id))]
        guess = cv2.transform(self._points, near).astype(np.float32)
        moved, found, _ = cv2.calcOpticalFlowPyrLK(
            self._gray, gray, self._points, guess, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
        )
        ok = found.ravel() == 1
        if np.count_nonzero(ok) < 12:
            return None
        cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator
        motion, inliers = cv2.estimateAffinePartial2D(self._points[ok], moved[ok], ransacReprojThreshold=2.0)
        return motion if motion is not None and inliers.sum() > 0.25 * len(self._points) else None

    def difference(self, rgb: UInt8[np.ndarray, "h w 3"], motion: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Distance in 0..255 of each pixel from all neighbouring plate pixels, less 1.5 times the flicker."""
        import cv2

        size = self._gray.shape[::-1]
        low = cv2.warpAffine(self._low, motion, size, borderMode=cv2.BORDER_REPLICATE)
        high = cv2.warpAffine(self._high, motion, size, borderMode=cv2.BORDER_REPLICATE)
        flicker = cv2.warpAffine(self._flicker, motion, size, borderMode=cv2.BORDER_CONSTANT, borderValue=40)
        smooth = cv2.GaussianBlur(rgb, (0, 0), 0.8)
        outside = cv2.max(cv2.subtract(smooth, high), cv2.subtract(low, smooth))
        return outside.max(-1).astype(np.float32) - 1.5 * np.minimum(flicker, 40)


class Scene:
    """A video with its working width, and its plate, which is made on first use."""

    def __init__(self, video: Video, width: int) -> None:
        self._video = video
        self.width = width

    @functools.cached_property
    def plate(self) -> Plate | None:
        return Plate.of(self._video, self.width)


class View:
    """One frame at the working size, and its relation to the previous frame and the plate, computed on first use."""

    def __init__(self, frame: UInt8[np.ndarray, "H W 3"], frame_id: int, before: "View | None", scene: Scene) -> None:
        self.frame = frame
        self.frame_id = frame_id
        self.size = frame.shape[:2]
        self._before = before
        self._scene = scene
        if before is not None:
            before._before = None  # or the chain of views would keep the whole video in memory

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
        """float[2 3]: the transform from the plate to this frame; None without a plate."""
        return self._scene.plate.motion_to(self.gray, self.frame_id) if self._scene.plate else None

    @functools.cached_property
    def foreground(self) -> Float32[np.ndarray, "h w"] | None:
        """Probability of each pixel not to be the still background; None without a plate."""
        if self._scene.plate is None or self.motion is None:
            return None
        excess = (self._scene.plate.difference(self.rgb, self.motion) - 14.0) / 4.0
        return (1 / (1 + np.exp(-excess.clip(-30, 30)))).astype(np.float32)

    @functools.cached_property
    def flow(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]] | None:
        """x and y of each pixel on the previous frame; None on the first frame."""
        import cv2

        if self._before is None:
            return None
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # pyright: ignore[reportAttributeAccessIssue]
        flow = dis.calc(self.gray, self._before.gray, None)
        h, w = self.gray.shape
        return flow[..., 0] + np.arange(w, dtype=np.float32), flow[..., 1] + np.arange(h, dtype=np.float32)[:, None]

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
    """The frame resized to the working width, unless it is smaller."""
    import cv2

    h, w = frame.shape[:2]
    if w <= width:
        return np.ascontiguousarray(frame)
    return cv2.resize(frame, (width, max(round(h * width / w), 16)), interpolation=cv2.INTER_AREA)


def colour_bins(rgb: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """int[h w]: the bin of each pixel in a colour histogram of 16 x 16 x 16 bins in Lab."""
    import cv2

    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.int32)
    chroma = np.clip((lab[..., 1:] - 64) >> 3, 0, 15)
    return (lab[..., 0] >> 4) * 256 + chroma[..., 0] * 16 + chroma[..., 1]
