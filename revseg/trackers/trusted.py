"""Memory of trusted frames: a tracker looks back on the last frames that surely showed the target.

The idea is SAMURAI's (Yang et al., arXiv 2411.11922): frames on which the target is hidden must not push the good ones
out of the memory. Only their presence is judged here; SAMURAI also predicts motion.
"""

from collections.abc import Collection, MutableMapping
from typing import Any

TRUST_FROM = 0.5  # least probability that the target is visible; below it SAM 2 itself says "no object"


class TrustedFrames:
    """Chooses for one instance which outputs its model looks back on.

    The model reads `tracked` at the numbers just before the current frame. `choose` writes the trusted outputs there,
    nearest first, so that no model has to be changed. Frames with a prompt keep their place in that order: if every
    frame is trusted, the model reads what it would read without this class. At most 2 * `window` outputs are kept.
    """

    def __init__(self, prompted: Collection[int], window: int) -> None:
        self.prompted, self.window = frozenset(prompted), window
        self.outputs: dict[int, Any] = {}

    def choose(self, tracked: MutableMapping[int, Any], frame_id: int, *, reverse: bool) -> None:
        """Fill `tracked` for the step on `frame_id`: the nearest trusted output one frame back, and so on."""
        behind = [f for f in {*self.outputs, *self.prompted} if (f > frame_id) == reverse]
        nearest = sorted(behind, key=lambda f: abs(f - frame_id))[: self.window]
        step = 1 if reverse else -1
        tracked.clear()
        for place, source in enumerate(nearest, 1):
            if source in self.outputs:
                tracked[frame_id + step * place] = self.outputs[source]

    def add(self, tracked: MutableMapping[int, Any], frame_id: int, *, presence: float, empty: bool) -> None:
        """Take the step's output out of `tracked`, and keep it if the frame can be trusted."""
        output = tracked.pop(frame_id)
        if not trusted(presence, empty):
            return
        self.outputs[frame_id] = output
        frames = sorted(self.outputs)  # one end is nearest to the current frame, the other to the first prompt
        self.outputs = {f: self.outputs[f] for f in (*frames[: self.window], *frames[-self.window :])}


def trusted(presence: float, empty: bool) -> bool:
    """Whether a frame surely showed the target: it is probably visible, and its mask is not empty."""
    return presence >= TRUST_FROM and not empty
