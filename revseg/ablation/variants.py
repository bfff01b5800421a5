"""What an ablation varies: a model, how it is trained, how it is tested; and the plan that comes of it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from revseg.errors import InputError
from revseg.evaluation.manifest import files_of
from revseg.pipeline import ReVSeg
from revseg.registry import options_of, registry, spec_of
from revseg.rollout.plans import InOrder
from revseg.spec import format_spec, parse_spec
from revseg.training.config import TrainConfig
from revseg.types import Sampling

_NO_PART = ("tracker", "sampling")  # of a model, in its training
_REPORTS = ("save_every", "samples_every", "log_with", "tokens")  # of a training, in its result


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    `model`: a `ReVSeg`, or the settings in which it differs from the ablation's `base`. `train`: True for training as
    the ablation says, settings in which it differs, a `TrainConfig` of its own, or False for none. `test`: settings
    in which the model that is scored differs from the one that is trained. `dataset`, `train_on` and `seeds` replace
    the ablation's.
    """

    model: ReVSeg | Mapping[str, Any] = field(default_factory=dict)
    train: TrainConfig | Mapping[str, Any] | bool = True
    test: Mapping[str, Any] = field(default_factory=dict)
    dataset: Any = None
    train_on: Any = None
    seeds: Sequence[int] | None = None

    @staticmethod
    def of(spec: Any) -> "Variant":
        """A `Variant` as it is; a model or its settings; or a pair (model, train), where None stands for False."""
        if isinstance(spec, Variant):
            return spec
        if isinstance(spec, ReVSeg | Mapping):
            return Variant(spec)
        if isinstance(spec, tuple | list) and len(spec) == 2 and isinstance(spec[0], ReVSeg | Mapping):
            return Variant(spec[0], False if spec[1] is None else spec[1])
        raise InputError(
            f"expected a variant as a ReVSeg, its settings, (settings, training) or a Variant; got {spec!r}"
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """One variant with one seed: what is trained on what, and what is scored on what."""

    name: str
    seed: int
    trained: ReVSeg
    config: TrainConfig | None  # None: not trained
    train_on: Any
    tested: ReVSeg  # with the policy before training
    dataset: Any

    @property
    def train_key(self) -> str:
        """A digest of all that decides the trained weights: equal for two variants that share a training."""
        assert self.config is not None
        model = {name: value for name, value in self.trained.to_dict().items() if name not in _NO_PART}
        config = {name: value for name, value in self.config.to_dict().items() if name not in _REPORTS}
        return _digest([model, config, described(self.train_on), files_of(model)])

    @property
    def key(self) -> str:
        """A digest of all that decides the rows."""
        model = self.tested.to_dict()
        return _digest([self.config and self.train_key, model, described(self.dataset), files_of(model)])


def make_plans(
    variants: Mapping[str, Any],
    base: ReVSeg,
    dataset: Any,
    seeds: Sequence[int],
    train: TrainConfig | None,
    train_on: Any,
) -> list[Plan]:
    """Every variant with every seed, checked as far as it can be without building a policy or a tracker.

    Raises InputError or SpecError, naming the variant.
    """
    if not variants:
        raise InputError("expected at least one variant")
    plans = []
    for name, spec in variants.items():
        variant = Variant.of(spec)
        wanted = seeds if variant.seeds is None else variant.seeds
        if not wanted or len(set(wanted)) != len(wanted):
            raise InputError(f"variant {name!r}: expected one seed or more, none twice; got {list(wanted)}")
        try:
            plans += [_plan(name, variant, base, dataset, seed, train, train_on) for seed in wanted]
        except (InputError, TypeError) as error:  # SpecError is raised as it is: its message names the part
            raise InputError(f"variant {name!r}: {error}") from error
    slugs: dict[str, str] = {}
    for plan in plans:
        other = slugs.setdefault(slug(plan.name).lower(), plan.name)
        if other != plan.name:
            raise InputError(f"variants {other!r} and {plan.name!r} would share a folder: rename one of them")
    return plans


def slug(name: str) -> str:
    """A folder's name that is safe whatever the variant is called."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.") or "variant"


def described(dataset: Any) -> Any:
    """A dataset's spec; for an object its type and length."""
    if isinstance(dataset, str | Mapping):
        return spec_of(dataset)
    return f"{type(dataset).__name__} of {len(dataset)} samples"


def train_split_of(dataset: Any) -> Any:
    """The spec's `train` split where its part has splits; else the dataset itself."""
    if not isinstance(dataset, str | Mapping):
        return dataset
    name, options = parse_spec(dataset) if isinstance(dataset, str) else (dataset.get("name", ""), dict(dataset))
    options.pop("name", None)
    if ":" in name or "split" not in options_of(registry("dataset").get(name)):
        return dataset
    return format_spec(name, {**options, "split": "train"})


def _plan(
    name: str, variant: Variant, base: ReVSeg, dataset: Any, seed: int, train: TrainConfig | None, train_on: Any
) -> Plan:
    model = variant.model if isinstance(variant.model, ReVSeg) else _changed(base, variant.model)
    config = _config(variant.train, train, seed)
    scored = dataset if variant.dataset is None else variant.dataset
    source = train_on if variant.train_on is None else variant.train_on
    # Rewards are judged as the base says, so that variants trained by different ones can be compared.
    judged = {**variant.test, "rewards": variant.test.get("rewards", base.rewards)} if config else variant.test
    tested = _changed(model, judged)
    tested = tested.replace(sampling=replace(tested.sampling, seed=seed))
    _check(model, tested, config)
    return Plan(name, seed, model, config, train_split_of(dataset) if source is None else source, tested, scored)


def _config(asked: Any, train: TrainConfig | None, seed: int) -> TrainConfig | None:
    if asked is False or (asked is True and train is None):
        return None
    if isinstance(asked, TrainConfig):
        return replace(asked, seed=seed)
    if asked is not True and not isinstance(asked, Mapping):
        raise InputError(f"expected training settings, a TrainConfig, True or False; got {asked!r}")
    changes = {} if asked is True else dict(asked)
    if "seed" in changes:
        raise InputError("training seeds are those of the ablation: give seeds=, not a seed in the settings")
    return TrainConfig.from_dict({**_settings(train or TrainConfig()), **changes, "seed": seed}, trust=True)


def _settings(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in fields(config)}


def _changed(model: ReVSeg, changes: Mapping[str, Any]) -> ReVSeg:
    """With other settings; the sampling may be given in part, as a mapping."""
    sampling = changes.get("sampling")
    if isinstance(sampling, Mapping):
        changes = {**changes, "sampling": Sampling(**{**_settings(model.sampling), **sampling})}
    return model.replace(**changes)


def _check(trained: ReVSeg, tested: ReVSeg, config: TrainConfig | None) -> None:
    """Builds what is light, so that a wrong spec is an error before hours of training."""
    for model in (trained, tested):
        if isinstance(model.plan, tuple):
            InOrder(model.plan)
        elif model.plan is not None:
            registry("plan").build(model.plan)
        if model.sampler is not None:
            registry("sampler").build(model.sampler)
    if config is None:
        return
    registry("objective").build(config.objective)
    if not isinstance(trained.policy, str | Mapping):
        raise InputError("to be trained, a policy has to be named by a spec: each run starts from a copy of its own")
    if spec_of(tested.policy) != spec_of(trained.policy):
        raise InputError("test= changes the policy, which training is to give")


def _digest(parts: Any) -> str:
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", json.dumps(parts, default=str, sort_keys=True))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
