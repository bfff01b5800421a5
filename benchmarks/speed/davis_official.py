"""J and F as DAVIS's official code computes them, written out from its definition: the baseline of `jf.py`.

Perazzi et al., CVPR 2016, and the behaviour of davis2017-evaluation: sums over whole frames in NumPy, the boundary by
comparison with the right, lower and lower-right neighbour, dilation of the whole frame by a disc in OpenCV.
"""

import cv2
import numpy as np


def j(truth: np.ndarray, pred: np.ndarray) -> float:
    """Intersection over union, void pixels (here none) taken out; 1 where the union is empty."""
    truth, pred = truth.astype(bool), pred.astype(bool)
    void = np.zeros_like(pred)
    common = np.sum((pred & truth) & np.logical_not(void), axis=(-2, -1))
    union = np.sum((pred | truth) & np.logical_not(void), axis=(-2, -1))
    return 1.0 if np.isclose(union, 0) else float(common / union)


def f(truth: np.ndarray, pred: np.ndarray, tolerance: float = 0.008) -> float:
    """F-measure of the boundaries, matched within ceil(tolerance * diagonal) pixels."""
    void = np.zeros_like(pred).astype(bool)
    reach = tolerance if tolerance >= 1 else np.ceil(tolerance * np.linalg.norm(pred.shape))
    pred_edge = boundary(pred * np.logical_not(void))
    true_edge = boundary(truth * np.logical_not(void))
    disc = disk(int(reach))
    true_match = true_edge * cv2.dilate(pred_edge.astype(np.uint8), disc)
    pred_match = pred_edge * cv2.dilate(true_edge.astype(np.uint8), disc)
    n_pred, n_true = np.sum(pred_edge), np.sum(true_edge)
    if n_pred == 0 or n_true == 0:
        return float(n_pred == n_true)
    precision, recall = np.sum(pred_match) / float(n_pred), np.sum(true_match) / float(n_true)
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def boundary(mask: np.ndarray) -> np.ndarray:
    """bool[h w]; the last row looks to the right only, the last column down only, the last corner nowhere."""
    mask = mask.astype(bool)
    right, below, corner = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1], below[:-1, :], corner[:-1, :-1] = mask[:, 1:], mask[1:, :], mask[1:, 1:]
    edge = mask ^ right | mask ^ below | mask ^ corner
    edge[-1, :] = mask[-1, :] ^ right[-1, :]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge


def disk(radius: int) -> np.ndarray:
    side = np.arange(-radius, radius + 1)
    return (side[:, None] ** 2 + side[None] ** 2 <= radius**2).astype(np.uint8)
