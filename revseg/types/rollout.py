"""The conversation: its status, targets and groundings are computed here and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from revseg.errors import InputError
from revseg.types.conversation import ROLES, Clip, FrameIds, Grounding, Query, Target, Turn
from revseg.video import Video


@dataclass(frozen=True, eq=False)
class Rollout:
    """A conversation so far: plans and prompts read it, rewards judge it.

    `clip` holds the frames sampled from `video` for the first round; `video` is read lazily, and is None where only the
    clip is known. `about` are the numbers of the objects that the next message is about, None for all. `failure` names
    the cause if something else than a reply ended the conversation, such as "too_many_rounds".
    """

    clip: Clip
    query: Query
    turns: tuple[Turn, ...] = ()
    video: Video | None = None
    about: tuple[int, ...] | None = None
    failure: str | None = None

    @property
    def status(self) -> str:
        """ "open" while a round is still due, "failed" (see `error`), "absent" (it is not in the video), or "found"."""
        if self.error is not None:
            return "failed"
        return "open" if self._open else "found" if self.targets else "absent"

    @property
    def error(self) -> str | None:
        """The failure that ended the conversation, such as "round 1: no_json"; None if there was none.

        A reply that could not be parsed does not count if the plan asked again. "round 2: no_keyframe" also means that
        a tracker could start from none of the targets.
        """
        if self.turns and self.turns[-1].answer.error is not None:
            return f"round {len(self.turns)}: {self.turns[-1].answer.error}"
        if self.failure is None and not self._open and self.targets and not _placed(self.targets):
            return f"round {len(self.turns)}: no_keyframe"
        return self.failure

    @property
    def detail(self) -> str:
        """What the failed reply should have been and what it was, in words; "" if no reply failed."""
        return self.turns[-1].answer.detail if self.turns and self.turns[-1].answer.error is not None else ""

    @property
    def due(self) -> int:
        """The number of rounds in a complete conversation: those so far, and those that had to follow the last one."""
        if not self.turns or self.turns[-1].denies:
            return max(1, len(self.turns))
        return len(self.turns) + self.turns[-1].then

    @property
    def form(self) -> float:
        """Mean over the rounds due of the share of format rules met, in [0, 1]; a round that is missing counts 0."""
        return sum(turn.answer.form for turn in self.turns) / self.due

    @property
    def chosen(self) -> tuple[Target, ...]:
        """The targets as named by the latest round that chose keyframes; later rounds do not change them."""
        named = (turn.answer.targets for turn in reversed(self.turns) if turn.answer.error is None)
        found = next((ts for ts in named if any(t.frame_id is not None for t in ts)), ())
        return tuple(target for target in found if target.role == "target")

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of all rounds that could be parsed, merged: later rounds add boxes and points to them.

        A round that names keyframes replaces all targets. The answer "not in the video" removes those it was asked for.
        """
        return tuple(target for target in self.named if target.role == "target")

    @property
    def named(self) -> tuple[Target, ...]:
        """The targets and the objects named as context, in order."""
        return tuple(target for target in self._known() if target is not None)

    @property
    def asked(self) -> tuple[Target, ...]:
        """Those of the `named` objects that the next message is about."""
        if self.about is None:
            return self.named
        known = self._known()
        return tuple(target for i in self.about if (target := known[i]) is not None)

    @property
    def groundings(self) -> tuple[Grounding, ...]:
        """The targets that have a keyframe and a position on it; empty unless the conversation ended well.

        If no target has a box or a point, a tracker starts from their descriptions. Targets with equal descriptions on
        different keyframes and without numbers of their own are one object (they share `object_id`). Of equal boxes on
        one keyframe the first counts.
        """
        return tuple(grounding for grounding in self._groundings if grounding.role == "target")

    @property
    def context(self) -> tuple[Grounding, ...]:
        """The objects named as context that have a keyframe and a position on it, numbered after the targets."""
        return tuple(grounding for grounding in self._groundings if grounding.role == "context")

    @property
    def _groundings(self) -> tuple[Grounding, ...]:
        if self.status != "found":
            return ()
        by_role = ([target for target in self.named if target.role == role] for role in ROLES)
        placed = [target for targets in by_role for target in _without_equals(_placed(targets))]
        found: list[Grounding] = []
        for target, object_id in zip(placed, _object_ids(placed), strict=True):
            assert target.frame_id is not None
            where = (target.boxes, target.points, target.point_labels)
            found.append(Grounding(target.frame_id, *where, target.description, object_id, target.role))
        return tuple(found)

    @property
    def frame_ids(self) -> FrameIds:
        """The source frames shown in the conversation, sorted: the "best frame" of a reward is the best of these."""
        shown = [self.clip.frame_ids, *(clip.frame_ids for turn in self.turns for clip in turn.prompt.clips)]
        return np.unique(np.concatenate(shown))

    def picture(self, frame_id: int) -> Clip:
        """A source frame as a picture at full size, from the clip or read from the video."""
        place = np.flatnonzero(self.clip.frame_ids == frame_id)
        if len(place):
            return self.clip.pick(int(place[0]))
        if self.video is None:
            raise InputError(f"frame {frame_id} is not in the clip, and this conversation has no video to read it from")
        return Clip(self.video.read([frame_id]), np.array([frame_id], np.int64))

    @property
    def _open(self) -> bool:
        """True while a round is due: there was none yet, or another has to follow and the last was not "absent"."""
        return not self.turns or (self.turns[-1].then > 0 and not self.turns[-1].denies)

    def _known(self) -> list[Target | None]:
        """The objects by number; None for one that a later round said is not in the video."""
        known: list[Target | None] = []
        for turn in self.turns:
            answer = turn.answer
            if answer.error is not None:
                continue
            if not known or any(target.frame_id is not None for target in answer.targets):
                known = list(answer.targets)
            elif answer.absent or answer.targets:
                asked = turn.prompt.about or range(len(known))
                asked = [i for i in asked if i < len(known) and known[i] is not None]
                filled = merge_targets([t for i in asked if (t := known[i]) is not None], answer.targets)
                for place, i in enumerate(asked):
                    known[i] = None if answer.absent else filled[place]
        return known


def _placed(targets: Sequence[Target]) -> list[Target]:
    """Those that a tracker can start from: with boxes or points where any target has them, else by description."""
    named = [target for target in targets if target.frame_id is not None]
    places = [target for target in named if len(target.boxes) or len(target.points)]
    return places or [target for target in named if target.description]


def _without_equals(targets: Sequence[Target]) -> list[Target]:
    """Each box of a keyframe once, with the first target that gave it; compared to six decimals."""
    met: dict[int | None, set[bytes]] = {}
    kept = []
    for target in targets:
        seen, fresh = met.setdefault(target.frame_id, set()), []
        for index, box in enumerate(np.round(target.boxes.astype(np.float64), 6) + 0.0):  # + 0.0: no negative zero
            if box.tobytes() not in seen:
                seen.add(box.tobytes())
                fresh.append(index)
        if fresh or not len(target.boxes):
            kept.append(target if len(fresh) == len(target.boxes) else replace(target, boxes=target.boxes[fresh]))
    return kept


def merge_targets(known: Sequence[Target], new: Sequence[Target]) -> list[Target]:
    """Targets of an earlier round with what a later round adds: by the numbers that both give, else in order.

    One known target takes the boxes of all new ones ("the two dogs"). Of several known targets each takes its own,
    the last also what is left over; a known target without a new one keeps no box and is not grounded.
    """
    numbers = {target.object_id for target in known} - {None}
    if len(known) > 1 and new and all(target.object_id in numbers for target in new):
        mine = [[t for t in new if t.object_id == target.object_id] for target in known]
    else:
        mine = [list(new[index : index + 1]) for index in range(len(known))]
        if known:
            mine[-1] = list(new[len(known) - 1 :])
    return [_filled(target, added) for target, added in zip(known, mine, strict=True)]


def _filled(target: Target, added: Sequence[Target]) -> Target:
    return replace(
        target,
        boxes=np.concatenate([target.boxes, *(t.boxes for t in added)]),
        points=np.concatenate([target.points, *(t.points for t in added)]),
        point_labels=np.concatenate([target.point_labels, *(t.point_labels for t in added)]),
    )


def _object_ids(targets: Sequence[Target]) -> list[int]:
    """A number for each object from 0: the reply's own numbers where every target has one, else by description."""
    if all(target.object_id is not None for target in targets):
        keys = [(target.object_id, target.role) for target in targets]
        order = list(dict.fromkeys(keys))
        return [order.index(key) for key in keys]
    ids: list[int] = []
    for target in targets:
        same = [
            i
            for i, other in zip(ids, targets, strict=False)
            if target.description
            and (other.description, other.role) == (target.description, target.role)
            and other.frame_id != target.frame_id
        ]
        ids.append(same[0] if same else len(set(ids)))
    return ids
