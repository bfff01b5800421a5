"""`ReVSeg`: a model as a handful of specs. A video and a question in, a rollout and masks out."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from revseg import checked
from revseg.errors import InputError
from revseg.footage import warn_of_footage
from revseg.masks import MaskTrack
from revseg.progress import reading, waiting
from revseg.registry import build, spec_of
from revseg.rewards import resolve_weights, reward_name, score
from revseg.rollout.rounds import run
from revseg.trust import check_foreign_settings, taught_settings
from revseg.types import (
    MAX_NEW_TOKENS,
    Clip,
    Parser,
    Policy,
    Prompt,
    Query,
    RewardBreakdown,
    Rollout,
    Sample,
    Sampling,
    Tracker,
)
from revseg.video import Video

EQ8 = {"format": 1.0, "temporal": 1.0, "spatial": 1.0}
MOST_TOKENS = 131_072  # of one reply; no model writes more, and rows of random numbers are as long
PAPER = {"rounds": (("keyframe", "keyframe_json"), ("box", "box_json")), "sampler": "uniform", "num_frames": 16}


@dataclass(frozen=True, repr=False)
class ReVSeg:
    """The method, with every part named by a spec (see `revseg.registry`). Parts are built when first needed.

    `rounds`, `sampler`, `num_frames` and `sampling.max_new_tokens` left at None mean what the policy was taught (its
    `defaults`), else what the paper does: keyframe then box, 16 frames drawn uniformly, and 512 tokens a reply.
    `rewards` maps reward specs to weights (Eq. 8: all 1), or names a preset such as "fig4". What a policy was taught
    came with its weights: it may name registered parts with plain options, and code only with `trust` (see
    `revseg.trust`), which no record holds.
    """

    policy: Any = "qwen"
    tracker: Any = "flow"
    rounds: Sequence[Sequence[Any]] | None = None  # (prompt, parser) each
    sampler: Any = None
    num_frames: int | None = None
    rewards: Mapping[Any, float] | str = field(default_factory=lambda: dict(EQ8))
    sampling: Sampling = field(default_factory=Sampling)
    trust: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        _check({f.name: getattr(self, f.name) for f in fields(self)})
        if self.rounds is not None:
            object.__setattr__(self, "rounds", tuple((prompt, parser) for prompt, parser in self.rounds))

    def __repr__(self) -> str:
        """Its specs as records hold them: without keys and passwords."""
        return f"ReVSeg({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    @staticmethod
    def paper() -> "ReVSeg":
        """The paper's configuration: Qwen2.5-VL-7B, SAM 2.1 Hiera-L, 16 frames at 448, keyframe at 840, Eq. 8."""
        return ReVSeg(
            policy="qwen:model=Qwen/Qwen2.5-VL-7B-Instruct",
            tracker="sam2:model=facebook/sam2.1-hiera-large",
            rounds=(("keyframe:size=448", "keyframe_json"), ("box:size=840", "box_json")),
            sampler="uniform",
            num_frames=16,
            sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS),
        )

    @functools.cached_property
    def built_policy(self) -> Policy:
        """The policy, ready to use; built once."""
        return build("policy", self.policy)

    @functools.cached_property
    def built_tracker(self) -> Tracker:
        """The tracker, ready to use; built once."""
        return build("tracker", self.tracker)

    @functools.cached_property
    def built_rounds(self) -> list[tuple[Prompt, Parser]]:
        """The prompts and parsers, ready to use; built once."""
        rounds = self.rounds or self.resolved().rounds or ()
        return [(build("prompt", prompt), build("parser", parser)) for prompt, parser in rounds]

    def resolved(self) -> "ReVSeg":
        """This model with every None replaced by what it means; what a record holds. Builds the policy."""
        missing = [name for name in PAPER if getattr(self, name) is None]
        if not missing and self.sampling.max_new_tokens is not None:
            return self
        names = missing if self.sampling.max_new_tokens is not None else [*missing, "max_new_tokens"]
        taught = taught_settings(self.built_policy, names, self.trust)
        try:
            _check(taught)
        except InputError as error:
            raise InputError(f"what the policy was taught: {error}") from error
        changes: dict[str, Any] = {name: taught.get(name, PAPER[name]) for name in missing}
        if self.sampling.max_new_tokens is None:
            limit = taught.get("max_new_tokens", MAX_NEW_TOKENS)
            changes["sampling"] = replace(self.sampling, max_new_tokens=limit)
        return self.replace(**changes)

    def replace(self, **changes: Any) -> "ReVSeg":
        """A copy with other specs. A policy or tracker that stays the same is shared, not built again."""
        _known(changes)
        changed = replace(self, **changes)
        for kind in ("policy", "tracker"):
            if kind not in changes and f"built_{kind}" in vars(self):
                vars(changed)[f"built_{kind}"] = vars(self)[f"built_{kind}"]
        return changed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON that `from_dict` reads back. A part passed as an object is recorded by its import path."""
        rounds = None if self.rounds is None else [[spec_of(part) for part in pair] for pair in self.rounds]
        rewards = self.rewards
        if not isinstance(rewards, str):
            rewards = {reward_name(name): weight for name, weight in rewards.items()}
        return {
            "policy": spec_of(self.policy),
            "tracker": spec_of(self.tracker),
            "rounds": rounds,
            "sampler": None if self.sampler is None else spec_of(self.sampler),
            "num_frames": self.num_frames,
            "rewards": rewards,
            "sampling": asdict(self.sampling),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], *, trust: bool = False) -> "ReVSeg":
        """The inverse of `to_dict`. InputError for a key that does not exist or a value of another kind.

        SpecError when a part is more than a registered one with plain options, unless `trust` says that the data is
        yours; `revseg.trust` has the rule.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"expected the settings of a ReVSeg by name, got {type(data).__name__}")
        _known(data)
        settings = dict(data)
        if not trust:
            check_foreign_settings(settings, "the record", "pass trust=True to ReVSeg.from_dict")
        if "sampling" in settings:
            settings["sampling"] = _sampling(settings["sampling"])
        _check(settings)
        return ReVSeg(**settings)

    def rollout(self, video: Any, query: Query | str, truth: MaskTrack | None = None) -> Rollout:
        """One conversation about a `Video`, a path or frames uint8[t h w 3]. A bad reply is data: see `Rollout.error`.

        `truth` is for policies that have to be told it (`oracle`); others never see it.
        """
        return self.rollouts([Sample(as_video(video), as_query(query), truth)])[0][0]

    def rollouts(self, samples: Sequence[Sample], n: int = 1) -> list[list[Rollout]]:
        """`n` conversations about each sample, all in one batch: a group per sample, in order.

        InputError for a truth that is not of its video, PartError for a part that gives something else than it should.
        A FootageWarning when a checkpoint that comes with revseg is asked about other videos than those of `shapes`.
        """
        starts = []
        for sample in samples:
            checked.truth(sample.truth, sample.video, sample.query)
            _tell(self.built_policy, sample.query, sample.truth)
            start = Rollout(self.clip(sample.video, sample.query), sample.query, planned=len(self.built_rounds))
            starts += [start] * n
        warn_of_footage(self.policy, [sample.video for sample in samples])
        done = run(starts, self.built_policy, self.built_rounds, sampling=self.resolved().sampling)
        return [done[i : i + n] for i in range(0, len(done), n)] if n else [[] for _ in samples]

    def clip(self, video: Video, query: Query) -> Clip:
        """The frames that the policy will see."""
        model = self if None not in (self.sampler, self.num_frames) else self.resolved()
        assert model.num_frames is not None
        sampler = build("sampler", model.sampler)
        return checked.clip(sampler, sampler(video, query, model.num_frames), video, model.num_frames)

    def segment(
        self, video: Any, query: Query | str, truth: MaskTrack | None = None, progress: bool = False
    ) -> "Segmentation":
        """The whole method: converse, then track through every frame of the source.

        Without a grounding (a reply that did not parse, or "not in the video") the masks are empty and the tracker does
        not run. `progress` shows a bar on the terminal. With `truth`, the rollout is scored too.
        """
        video, query = as_video(video), as_query(query)
        with waiting("asking the policy", show=progress):
            rollout = self.rollout(video, query, truth)
        if rollout.groundings:  # else the tracker is not even built: its weights may be large
            _tell(self.built_tracker, query, truth)
        with reading(video, "tracking", show=progress) as watched:
            masks = self.track(watched, rollout)
        rewards = None if truth is None else self.score(rollout, truth)
        return Segmentation(rollout, masks, rewards, self.resolved().to_dict())

    def track(self, video: Video, rollout: Rollout) -> MaskTrack:
        """Masks on every frame of the source; empty ones, without running the tracker, where nothing was grounded."""
        if not rollout.groundings:
            return MaskTrack.empty(video.size, range(len(video)))
        return checked.masks(self.built_tracker, self.built_tracker(video, rollout.groundings), video)

    def score(self, rollout: Rollout, truth: MaskTrack) -> RewardBreakdown:
        """The rewards of a rollout against the truth of its video, under this model's weights."""
        return score(rollout, truth, self.rewards)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What `segment` gives: the conversation, the masks on every frame of the source, and what they came from."""

    rollout: Rollout
    masks: MaskTrack
    rewards: RewardBreakdown | None = None  # None without a truth
    spec: Mapping[str, Any] = field(default_factory=dict)  # the model, as `ReVSeg.from_dict` reads it

    @property
    def status(self) -> str:
        """ "found"; "absent" when the reply says so; else the failure: see `Rollout.status`."""
        return self.rollout.status

    def save(
        self, folder: str | Path, video: Any, *, overwrite: bool = False, truth: MaskTrack | None = None, **options: Any
    ) -> Path:
        """Writes masks/, masks.json, overlay.mp4, reasoning.json and reasoning.html; whole or not at all.

        `video` is the source that was segmented; it is read again, a few frames at a time. Raises OutputError when the
        folder exists, unless `overwrite`. For `options` see `revseg.report.save`.
        """
        from revseg.report import save

        return save(self, folder, as_video(video), overwrite=overwrite, truth=truth, **options)


def as_video(source: Any) -> Video:
    """A `Video` as it is; a path or an array opened."""
    return source if isinstance(source, Video) else Video.open(source)


def as_query(query: Query | str) -> Query:
    """A `Query` as it is; a text as one."""
    found = Query("query", query.strip()) if isinstance(query, str) else query
    if not found.text.strip():
        raise InputError("the query is empty: ask for something, for example 'the dog that jumps first'")
    return found


def _tell(part: Any, query: Query, truth: MaskTrack | None) -> None:
    if truth is not None and hasattr(part, "tell"):
        part.tell(query, truth)


def _check(settings: Mapping[str, Any]) -> None:
    """InputError or SpecError for a setting of another kind or range. Specs are checked when they are built."""
    rounds, frames, trust = (settings.get(name) for name in ("rounds", "num_frames", "trust"))
    if rounds is not None:
        listed = isinstance(rounds, list | tuple) and bool(rounds)
        if not listed or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in rounds):
            raise InputError(f"expected rounds as (prompt, parser) pairs, at least one; got {rounds!r:.200}")
    if frames is not None and not (isinstance(frames, int) and not isinstance(frames, bool) and frames >= 1):
        raise InputError(f"expected num_frames of 1 or more, got {frames!r:.80}")
    if not isinstance(trust, bool | None):
        raise InputError(f"expected trust to be true or false, got {trust!r:.80}")
    if "rewards" in settings:
        resolve_weights(settings["rewards"])
    sampling = settings.get("sampling")
    limit = sampling.max_new_tokens if isinstance(sampling, Sampling) else settings.get("max_new_tokens")
    if limit is not None and not (type(limit) is int and 1 <= limit <= MOST_TOKENS):
        raise InputError(f"expected max_new_tokens to be a whole number in 1..{MOST_TOKENS}, got {limit!r:.80}")


def _sampling(given: Any) -> Sampling:
    """From a record: numbers by name."""
    if isinstance(given, Sampling):
        return given
    kinds = {f.name: float if f.type in (float, "float") else int for f in fields(Sampling)}
    wanted = f"expected sampling as numbers by name, of {', '.join(kinds)}"
    if not isinstance(given, Mapping):
        raise InputError(f"{wanted}; got {given!r:.80}")
    for name, value in given.items():
        unset = name == "max_new_tokens" and value is None
        if name not in kinds or (type(value) not in (int, kinds[name]) and not unset):
            raise InputError(f"{wanted}; got {name}={value!r:.80}")
    return Sampling(**given)


def _known(settings: Mapping[str, Any]) -> None:
    names = [f.name for f in fields(ReVSeg)]
    for name in settings:
        if name not in names:
            raise InputError(f"ReVSeg has no setting {name!r}; it has {', '.join(names)}")
