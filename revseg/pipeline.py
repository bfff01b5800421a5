"""`ReVSeg`: a model as a handful of specs. A video and a question in, a rollout and masks out."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, asdict, dataclass, field, fields, replace
from typing import Any

from revseg import checked
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.policies.checkpoints import warn_of_footage
from revseg.policies.defaults import defaults_of, geometry_of
from revseg.policies.names import DEFAULT, PAPER
from revseg.progress import reading, waiting
from revseg.registry import build, spec_of
from revseg.rewards import Rewards, resolve_weights, reward_name
from revseg.rollout.converse import MAX_ROUNDS, converse
from revseg.rollout.geometry import FittedPlan, fitted_spec, leaves_open
from revseg.rollout.plans import BOX, KEYFRAME, InOrder, left_to_taught, with_taught
from revseg.types import (
    MAX_NEW_TOKENS,
    Clip,
    Geometry,
    Grounding,
    NeedsTruth,
    Plan,
    Policy,
    Query,
    RewardBreakdown,
    Rollout,
    Sample,
    Sampler,
    Sampling,
    Segmentation,
    Tracker,
)
from revseg.untrusted.trust import check_foreign_settings, taught_settings
from revseg.video import Video

EQ8 = {"format": 1.0, "temporal": 1.0, "spatial": 1.0}
PAPER_SETTINGS = {"plan": (KEYFRAME, BOX), "sampler": "uniform", "num_frames": 16}


@dataclass(frozen=True, repr=False)
class ReVSeg:
    """The method, with every part named by a spec (see `revseg.registry`). Parts are built when first needed, once.

    `plan` is a spec ("per_object"), a function `(rollout) -> Round | None`, or a list of (prompt, parser) pairs, asked
    in order; `max_rounds` bounds a conversation. `plan`, `sampler`, `num_frames` and `sampling.max_new_tokens` left at
    None mean what the policy was taught (its `defaults`), else what the paper does: keyframe then box, 16 frames drawn
    uniformly, and 512 tokens a reply. A plan named by a spec asks with the taught prompts too, unless its own options
    say otherwise. `rewards` maps reward specs to weights (Eq. 8: all 1), or names a preset such as "fig4". What a
    policy was taught came with its weights: it may name registered parts with plain options, and code only with
    `trust` (see `revseg.untrusted.trust`), which no record holds.
    """

    policy: Any = DEFAULT
    tracker: Any = "flow"
    plan: Any = None
    sampler: Any = None
    num_frames: int | None = None
    rewards: Mapping[Any, float] | str = field(default_factory=lambda: dict(EQ8))
    sampling: Sampling = field(default_factory=Sampling)
    max_rounds: int = MAX_ROUNDS
    trust: bool = field(default=False, compare=False)
    rounds: InitVar[Any] = None  # the older name of a plan that is a list of pairs

    def __post_init__(self, rounds: Any) -> None:
        if rounds is not None:
            if self.plan is not None:
                raise InputError("rounds= is the older name of plan=: give one of them")
            object.__setattr__(self, "plan", rounds)
        _check({f.name: getattr(self, f.name) for f in fields(self)})
        if isinstance(self.plan, list | tuple):
            object.__setattr__(self, "plan", tuple((prompt, parser) for prompt, parser in self.plan))

    def __repr__(self) -> str:
        """Its specs as records hold them: without keys and passwords."""
        return f"ReVSeg({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    @staticmethod
    def paper() -> "ReVSeg":
        """The paper's configuration: Qwen2.5-VL-7B, SAM 2.1 Hiera-L, 16 frames at 448, keyframe at 840, Eq. 8."""
        return ReVSeg(
            policy=PAPER,
            tracker="sam2:model=facebook/sam2.1-hiera-large",
            plan=(("keyframe:size=448", "keyframe_json"), ("box:size=840,coords=pixel", "box_json:coords=pixel")),
            sampler="uniform",
            num_frames=16,
            sampling=Sampling(max_new_tokens=MAX_NEW_TOKENS),
        )

    @functools.cached_property
    def built_policy(self) -> Policy:
        """The policy, ready to use."""
        return build("policy", self.policy)

    @functools.cached_property
    def built_tracker(self) -> Tracker:
        """The tracker, ready to use."""
        return build("tracker", self.tracker)

    @functools.cached_property
    def built_plan(self) -> Plan:
        """The plan with its prompts and parsers, ready to use."""
        settled = callable(self.plan) or isinstance(self.plan, tuple)
        plan = self.plan if settled else self.resolved().plan
        built = InOrder(plan) if isinstance(plan, tuple) else build("plan", plan)
        geometry = self._geometry()
        return built if geometry == Geometry() else FittedPlan(built, geometry)

    @functools.cached_property
    def built_sampler(self) -> Sampler:
        """The sampler, ready to use."""
        return build("sampler", self.sampler if self.sampler is not None else self.resolved().sampler)

    @functools.cached_property
    def built_rewards(self) -> Rewards:
        """The rewards with their weights, ready to use."""
        return Rewards.build(self.rewards)

    def resolved(self) -> "ReVSeg":
        """This model with every None replaced by what it means; what a record holds. No weights are loaded for it.

        Where the plan leaves the unit of coordinates or the size of pictures open, they are the policy's: see
        `revseg.rollout.geometry`.
        """
        found = self._with_taught()
        plan = fitted_spec(found.plan, self._geometry()) if leaves_open(found.plan) else found.plan
        return found if plan == found.plan else found.replace(plan=plan)

    def _with_taught(self) -> "ReVSeg":
        """With what the policy was taught, or what the paper does, where a setting is left open."""
        missing = [name for name in PAPER_SETTINGS if getattr(self, name) is None]
        names = [*missing, *(["max_new_tokens"] if self.sampling.max_new_tokens is None else [])]
        pairs = left_to_taught(self.plan)
        if not names and not pairs:
            return self
        taught = taught_settings(self._taught(), [*names, *(["plan"] if pairs else [])], self.trust)
        try:
            _check(taught)
        except InputError as error:
            raise InputError(f"what the policy was taught: {error}") from error
        changes: dict[str, Any] = {name: taught.get(name, PAPER_SETTINGS[name]) for name in missing}
        if pairs:
            changes["plan"] = with_taught(self.plan, taught.get("plan", PAPER_SETTINGS["plan"]))
        if self.sampling.max_new_tokens is None:
            limit = taught.get("max_new_tokens", MAX_NEW_TOKENS)
            changes["sampling"] = replace(self.sampling, max_new_tokens=limit)
        return self.replace(**changes)

    def _geometry(self) -> Geometry:
        """The policy's, of the built one if there is one."""
        built = vars(self).get("built_policy")
        return self._geometry_by_spec if built is None else geometry_of(built)

    @functools.cached_property
    def _geometry_by_spec(self) -> Geometry:
        return geometry_of(self.policy)

    def _taught(self) -> Mapping[str, Any]:
        """The policy's `defaults`: those of the built one, which training may have changed, else as its spec says."""
        built = vars(self).get("built_policy")
        return self._taught_by_spec if built is None else defaults_of(built, lambda: built)

    @functools.cached_property
    def _taught_by_spec(self) -> Mapping[str, Any]:
        return defaults_of(self.policy, lambda: self.built_policy)

    def replace(self, **changes: Any) -> "ReVSeg":
        """A copy with other specs. Parts that are not named here are shared, not built again."""
        if "rounds" in changes:
            changes["plan"] = changes.pop("rounds")
        _known(changes)
        changed = replace(self, **changes)
        for name in ("policy", "tracker", "plan", "sampler", "rewards"):
            taught = name in ("plan", "sampler") and "policy" in changes  # what is left at None follows the policy
            if f"built_{name}" in vars(self) and name not in changes and not taught:
                vars(changed)[f"built_{name}"] = vars(self)[f"built_{name}"]
        for name in ("_taught_by_spec", "_geometry_by_spec"):
            if name in vars(self) and "policy" not in changes:
                vars(changed)[name] = vars(self)[name]
        return changed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON that `from_dict` reads back. A part passed as an object is recorded by its import path."""
        plan = None if self.plan is None else spec_of(self.plan)
        if isinstance(self.plan, tuple):
            plan = [[spec_of(part) for part in pair] for pair in self.plan]
        rewards = self.rewards
        if not isinstance(rewards, str):
            rewards = {reward_name(name): weight for name, weight in rewards.items()}
        return {
            "policy": spec_of(self.policy),
            "tracker": spec_of(self.tracker),
            "plan": plan,
            "sampler": None if self.sampler is None else spec_of(self.sampler),
            "num_frames": self.num_frames,
            "rewards": rewards,
            "sampling": asdict(self.sampling),
            "max_rounds": self.max_rounds,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], *, trust: bool = False) -> "ReVSeg":
        """The inverse of `to_dict`, of older records too. InputError for a key that does not exist or a wrong value.

        SpecError when a part is more than a registered one with plain options, unless `trust` says that the data is
        yours; `revseg.untrusted.trust` has the rule.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"expected the settings of a ReVSeg by name, got {type(data).__name__}")
        settings = dict(data)
        if "rounds" in settings:  # what records of before the plans call a fixed one
            settings["plan"] = settings.pop("rounds")
        _known(settings)
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

    def rollouts(
        self, samples: Sequence[Sample], n: int = 1, *, starts: Sequence[Rollout] | None = None
    ) -> list[list[Rollout]]:
        """`n` conversations about each sample, all in one batch: a group per sample, in order.

        `starts` are what `start` gives for the samples, when that has been called already; it reads the clips.
        InputError for a truth that is not of its video, PartError for a part that gives something else than it should.
        A FootageWarning when a checkpoint that comes with revseg is asked about other videos than those of `shapes`.
        """
        begun = [self.start(sample) for sample in samples] if starts is None else starts
        warn_of_footage(self.policy, [sample.video for sample in samples])
        policy, sampling = self.built_policy, self.resolved().sampling
        if isinstance(policy, NeedsTruth):
            policy = policy.with_truth(samples)
        rows = [start for start in begun for _ in range(n)]
        done = converse(rows, policy, self.built_plan, sampling=sampling, max_rounds=self.max_rounds)
        return [done[i : i + n] for i in range(0, len(done), n)] if n else [[] for _ in samples]

    def start(self, sample: Sample) -> Rollout:
        """The conversation about a sample before its first round. InputError for a truth that is not of its video."""
        checked.truth(sample.truth, sample.video, sample.query)
        return Rollout(self.clip(sample.video, sample.query), sample.query, video=sample.video)

    def clip(self, video: Video, query: Query) -> Clip:
        """The frames that the policy will see first."""
        frames = self.num_frames if self.num_frames is not None else self.resolved().num_frames
        assert frames is not None
        return checked.clip(self.built_sampler, self.built_sampler(video, query, frames), video, frames)

    def segment(
        self, video: Any, query: Query | str, truth: MaskTrack | None = None, progress: bool = False
    ) -> "Segmentation":
        """The whole method: converse, then track through every frame of the source.

        Without a grounding (a reply that did not parse, or "not in the video") the masks are empty and the tracker does
        not run. `progress` shows a bar on the terminal. With `truth`, the rollout is scored too.
        """
        sample = Sample(as_video(video), as_query(query), truth)
        with waiting("asking the policy", show=progress):
            rollout = self.rollouts([sample])[0][0]
        with reading(sample.video, "tracking", show=progress) as watched:
            shown = replace(sample, video=watched)
            masks, context = self._with_context(shown, rollout)
        rewards = None if truth is None else self.score(rollout, truth)
        return Segmentation(rollout, masks, rewards, self.resolved().to_dict(), context)

    def track(self, sample: Sample | Video, rollout: Rollout) -> MaskTrack:
        """Masks of the targets on every frame of the source; empty ones where nothing was grounded.

        A tracker that needs the truth (`oracle`) takes it from the sample.
        """
        return self._follow(sample if isinstance(sample, Sample) else Sample(sample, rollout.query), rollout.groundings)

    def _with_context(self, sample: Sample, rollout: Rollout) -> tuple[MaskTrack, MaskTrack | None]:
        """Masks of the targets and of their context, from one pass of the tracker."""
        if not rollout.context:
            return self.track(sample, rollout), None
        both = (*rollout.groundings, *rollout.context)
        masks = self._follow(sample, both, len({grounding.object_id for grounding in both}))
        targets = len({grounding.object_id for grounding in rollout.groundings})
        return masks.select(range(targets)), masks.select(range(targets, masks.objects))

    def _follow(self, sample: Sample, groundings: Sequence[Grounding], objects: int | None = None) -> MaskTrack:
        """One row per object, in order of their first groundings; `objects` rows where their number matters."""
        if not groundings:  # the tracker is not even built: its weights may be large
            return MaskTrack.empty(sample.video.size, range(len(sample.video)))
        tracker = self.built_tracker
        if isinstance(tracker, NeedsTruth):
            tracker = tracker.with_truth([sample])
        return checked.masks(tracker, tracker(sample.video, groundings), sample.video, objects)

    def score(self, rollout: Rollout, truth: MaskTrack) -> RewardBreakdown:
        """The rewards of a rollout against the truth of its video, under this model's weights."""
        return self.score_all([rollout], [truth])[0]

    def score_all(self, rollouts: Sequence[Rollout], truths: Sequence[MaskTrack]) -> list[RewardBreakdown]:
        """`score` for many at a time: a reward that is marked `batched` sees them together."""
        return self.built_rewards(rollouts, truths)


def as_video(source: Any) -> Video:
    """A `Video` as it is; a path or an array opened."""
    return source if isinstance(source, Video) else Video.open(source)


def as_query(query: Query | str) -> Query:
    """A `Query` as it is; a text as one."""
    found = Query("query", query.strip()) if isinstance(query, str) else query
    if not found.text.strip():
        raise InputError("the query is empty: ask for something, for example 'the dog that jumps first'")
    return found


def _check(settings: Mapping[str, Any]) -> None:
    """InputError or SpecError for a setting of another kind or range. Specs are checked when they are built."""
    plan, trust = settings.get("plan"), settings.get("trust")
    pairs = plan if isinstance(plan, list | tuple) else ()
    spec = plan is None or callable(plan) or isinstance(plan, str | Mapping)
    if not (spec or pairs) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise InputError(
            f"expected a plan as a spec, a function or (prompt, parser) pairs, at least one; got {plan!r:.200}"
        )
    for name in ("num_frames", "max_rounds"):
        count = settings.get(name)
        unset = name not in settings or (count is None and name == "num_frames")
        if not unset and not (type(count) is int and count >= 1):
            raise InputError(f"expected {name} of 1 or more, got {count!r:.80}")
    if not isinstance(trust, bool | None):
        raise InputError(f"expected trust to be true or false, got {trust!r:.80}")
    if "rewards" in settings:
        resolve_weights(settings["rewards"])
    if settings.get("max_new_tokens") is not None:  # of a checkpoint
        Sampling(max_new_tokens=settings["max_new_tokens"])


def _sampling(given: Any) -> Sampling:
    """From a record: numbers by name."""
    if isinstance(given, Sampling):
        return given
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(f"expected sampling as numbers by name, got {given!r:.80}")
    return Sampling(**given)


def _known(settings: Mapping[str, Any]) -> None:
    names = [f.name for f in fields(ReVSeg)]
    for name in settings:
        if name not in names:
            raise InputError(f"ReVSeg has no setting {name!r}; it has {', '.join(names)}")
