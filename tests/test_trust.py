"""Nothing from elsewhere runs code: hostile names at every entrance, with a canary whose import leaves a file."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_rows import made_row, write_results
from parts import built

from revseg.ablation import ablate
from revseg.errors import InputError, SpecError
from revseg.evaluation import Results
from revseg.pipeline import ReVSeg
from revseg.policies.hf.policy import HFPolicy
from revseg.registry import build
from revseg.report.site import write_site
from revseg.report.site_images import find_dataset
from revseg.spec import is_import_path, parse_spec
from revseg.testing import moving_squares
from revseg.training.config import TrainConfig
from revseg.training.folder import claim
from revseg.untrusted.trust import check_foreign

CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
def part(*args, **options):
    Path(__file__).with_name("ran").touch()
"""


class Canary:
    """A module and a file that tell when they are imported; `names` are all ways in which a spec can name them."""

    def __init__(self, folder: Path) -> None:
        self.module, self.file, self.mark = "canary_of_trust", folder / "canary_of_trust.py", folder / "ran"
        self.file.write_text(CODE)

    @property
    def names(self) -> list[Any]:
        return [
            f"{self.module}:part",
            f"{self.module}:part:x=1",
            f"{self.file}:part",
            f"{self.file}:part:x=[1]",
            f"{self.file}: part",
            f" {self.module}:part",
            {"name": f"{self.module}:part"},
            {"name": f"{self.file}:part", "x": 1},
            "subprocess:Popen:args=[touch,x]",
            {"name": "subprocess:Popen", "args": ["touch", str(self.mark)]},
            {"name": "os:system"},
        ]

    def silent(self) -> bool:
        return not self.mark.exists() and self.module not in sys.modules


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("canary")
    sys.path.insert(0, str(folder))
    yield Canary(folder)
    sys.path.remove(str(folder))
    sys.modules.pop("canary_of_trust", None)


class Taught:
    """A policy as a checkpoint makes it: `defaults` are the JSON beside the weights."""

    def __init__(self, defaults: Any) -> None:
        self.defaults = json.loads(json.dumps(defaults))

    def reply(self, rollouts: Any, prompts: Any, *, sampling: Any) -> Any:
        raise AssertionError("never asked")


GOOD = ["keyframe", "keyframe_json"]
KEY = {"name": "per_object", "keyframe": ["keyframe", "keyframe_json"]}
PLACES = {  # where a spec can stand in what a checkpoint was taught, and in a record
    "plan": lambda spec: {"plan": spec},
    "prompt": lambda spec: {"plan": [[spec, "keyframe_json"]]},
    "parser": lambda spec: {"plan": [GOOD, ["box", spec]]},
    "prompt of a plan": lambda spec: {"plan": {**KEY, "keyframe": [spec, "keyframe_json"]}},
    "parser of a plan": lambda spec: {"plan": {**KEY, "box": ["box", spec]}},
    "prompt of before": lambda spec: {"rounds": [[spec, "keyframe_json"]]},
    "sampler": lambda spec: {"sampler": spec},
}
RECORDS = {
    **PLACES,
    "policy": lambda spec: {"policy": spec},
    "tracker": lambda spec: {"tracker": spec},
    "reward": lambda spec: {"rewards": {spec if isinstance(spec, str) else spec["name"]: 1.0}},
}


def test_a_canary_sings_when_code_runs(tmp_path: Path):
    """So that silence means something."""
    canary = Canary(tmp_path)
    build("sampler", f"{canary.file}:part")
    assert canary.mark.exists()


@pytest.mark.parametrize("place", PLACES)
def test_what_a_checkpoint_was_taught_runs_nothing(canary: Canary, place: str):
    scene = moving_squares()
    for spec in canary.names:
        model = ReVSeg(policy=Taught(PLACES[place](spec)), tracker="fill_box")
        uses = [model.resolved, lambda m=model: m.built_plan, lambda m=model: m.segment(scene.video, scene.query)]
        for use in uses:
            with pytest.raises(SpecError, match=r"was taught.*plain options.*trust=True.*--trust"):
                use()
    assert canary.silent()


@pytest.mark.parametrize("place", RECORDS)
def test_a_record_runs_nothing(canary: Canary, place: str):
    for spec in canary.names:
        with pytest.raises(SpecError, match=r"plain options.*trust=True to ReVSeg\.from_dict"):
            ReVSeg.from_dict(json.loads(json.dumps(RECORDS[place](spec))))
    assert canary.silent()


def test_a_training_record_and_the_header_of_results_run_nothing(canary: Canary, tmp_path: Path):
    for spec in canary.names:
        with pytest.raises(SpecError, match=r"plain options.*trust=True to TrainConfig\.from_dict"):
            TrainConfig.from_dict({"objective": spec})
        path = write_results(tmp_path / "r.jsonl", [made_row(0)], dataset=spec)
        data, why = find_dataset(Results.open(path), None, None)
        assert data is None
        assert "--dataset" in why
        with pytest.raises(SpecError, match="--dataset"):
            find_dataset(Results.open(path), None, tmp_path)
        write_site(path, tmp_path / "site", overwrite=True)
    assert canary.silent()


def nested(text: str) -> st.SearchStrategy[Any]:
    """The text as an option's value, however deep, and as the spec of a part within the spec of a part."""
    inner = st.recursive(
        st.just(text),
        lambda item: (
            st.lists(item, min_size=1, max_size=2)
            | st.builds(lambda value: {"name": value}, item)
            | st.builds(lambda value: {"inner": value}, item)
            | st.builds(lambda value: [{"name": "uniform", "of": value}, 1], item)
        ),
        max_leaves=4,
    )
    return inner | st.just({text: 1.0}) | st.just(f"wrap:inner={json.dumps(text)}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(), kind=st.sampled_from(["policy", "prompt", "parser", "reward", "tracker", "sampler", "objective"])
)
def test_no_option_smuggles_code_in(canary: Canary, data: st.DataObject, kind: str):
    text = data.draw(st.sampled_from([spec for spec in canary.names if isinstance(spec, str)]))
    if not is_import_path(text.strip().split(":x=")[0].split(":args=")[0]):
        return  # nothing that the registry would import
    spec = {"name": "anything", data.draw(st.sampled_from(["inner", "of", "extra"])): data.draw(nested(text))}
    with pytest.raises(SpecError, match="do as I say"):
        check_foreign(kind, json.loads(json.dumps(spec)), "a file", "do as I say")
    assert canary.silent()


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("prompt", "template:path=/etc/passwd"),
        ("prompt", "template:path=secret"),
        ("prompt", {"name": "mine", "wording": "../secret"}),
        ("policy", "openai:model=x,base_url='https://example.org/v1'"),
        ("policy", {"name": "openai", "model": "x", "base_url": "example.org"}),
        ("policy", {"name": "openai", "model": "x", "api_key": "k"}),
        ("policy", {"name": "openai", "model": "x", "extra": {"callback": "http://example.org"}}),
        ("policy", "qwen:model=x,attention=someone/kernel"),
        ("policy", {"name": "mine", "trust_remote_code": True}),
        ("policy", {"name": "mine", "policy": {"name": "openai", "base_url": "example.org"}}),
        ("policy", "mine:policy='openai:model=x,api_key=k'"),
    ],
)
def test_a_registered_part_cannot_be_turned_against_its_user(kind: str, spec: Any):
    with pytest.raises(SpecError, match="plain options"):
        check_foreign(kind, spec, "the record", "trust it")


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("prompt", "box_terse:size=[420, 840],ruler=14"),
        ("prompt", {"name": "plain_question", "word": "When?"}),
        ("parser", "box_json:coords=thousand"),
        ("policy", "qwen:model=Qwen/Qwen2.5-VL-7B-Instruct,device=cuda:1,attention=sdpa"),
        ("policy", {"name": "qwen", "model": "C:\\models\\mine"}),
        ("policy", {"name": "given", "keyframe": [3], "box": [[0, 0, 1, 1]], "description": "dog: the left one"}),
        ("policy", {"name": "scripted", "replies": ['<answer>[{"bbox_2d": [1, 2, 3, 4]}]</answer>', "it's: this"]}),
        ("tracker", "sam2:model=facebook/sam2.1-hiera-large,compile=True"),
        ("dataset", "revos:root=/data/revos,exclude=TAO/*"),
        ("sampler", None),
        ("sampler", max),
    ],
)
def test_plain_options_pass(kind: str, spec: Any):
    check_foreign(kind, spec, "the record", "trust it")


def test_your_own_hand_imports(canary: Canary, tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from revseg.samplers import head\n"
        "def first(video, query, n, /):\n    return head(video, query, 2)\n"
        "def half(rollout, truth):\n    return 0.5\n"
    )
    sampler, reward = f"{tmp_path}/mine.py:first", f"{tmp_path}/mine.py:half"
    scene = moving_squares()
    typed = ReVSeg(policy="oracle", tracker="oracle", sampler=sampler, rewards={reward: 1.0})
    trusted = ReVSeg(policy=Oracle({"sampler": sampler}), tracker="oracle", rewards={reward: 1.0}, trust=True)
    again = ReVSeg.from_dict(json.loads(json.dumps(typed.to_dict())), trust=True)
    assert again == typed
    for model in (typed, trusted, again, trusted.replace(num_frames=9)):
        result = model.segment(scene.video, scene.query, scene.truth)
        assert result.rollout.clip.frame_ids.tolist() == [0, 1]
        assert result.rewards is not None
        assert result.rewards.total == 0.5
    assert TrainConfig.from_dict({"objective": "mine:grpo"}, trust=True).objective == "mine:grpo"
    # what is given by hand is not asked of the checkpoint
    ReVSeg(policy=Oracle({"sampler": canary.names[0]}), sampler="uniform", tracker="oracle").resolved()
    assert canary.silent()


class Oracle(Taught):
    """The same, and it answers."""

    def __init__(self, defaults: Any) -> None:
        super().__init__(defaults)
        self.inner = built("policy", "oracle")

    def with_truth(self, samples: Any) -> Any:
        return self.inner.with_truth(samples)


def test_trust_cannot_be_asked_for():
    for data in ({"trust": True}, {"trust": False, "policy": "oracle"}):
        with pytest.raises(SpecError, match="yours to give"):
            ReVSeg.from_dict(data)
    assert ReVSeg.from_dict({"policy": "oracle"}, trust=True).trust is False  # the data's, not the checkpoint's
    assert "trust" not in ReVSeg(trust=True).to_dict()
    with pytest.raises(SpecError, match=r"yours to give|which is yours"):
        ReVSeg(policy=Taught({"sampler": {"name": "fps", "trust": True}})).resolved()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda item: st.lists(item, max_size=3) | st.dictionaries(st.text(max_size=4), item, max_size=3),
    max_leaves=6,
)


@given(
    name=st.sampled_from([*(f.name for f in fields(ReVSeg) if f.name != "trust"), "rounds"]),
    value=JSON,
)
def test_a_damaged_record_is_one_clear_error(name: str, value: Any):
    try:
        model = ReVSeg.from_dict({name: value})
    except (InputError, SpecError):
        return
    assert json.loads(json.dumps(model.to_dict()))  # what was accepted can be written


@given(name=st.sampled_from(["plan", "rounds", "sampler", "num_frames"]), value=JSON)
def test_damage_in_what_a_policy_was_taught_is_one_clear_error(name: str, value: Any):
    try:
        model = ReVSeg(policy=Taught({name: value}))
        assert model.built_plan
        assert build("sampler", model.resolved().sampler)
    except (InputError, SpecError):
        pass


@pytest.mark.parametrize(
    "prompt",
    [
        "keyframe:size=abc",
        "keyframe:size=[1]",
        "keyframe:size=[4, 4.5]",
        "keyframe:size=0",
        "keyframe:size=1000000",
        "keyframe:fps=0",
        "keyframe:fps=x",
        "keyframe:fps=none",
        {"name": "keyframe", "size": None},
        {"name": "keyframe", "size": {"a": 1}},
        "keyframe_terse:ruler=-1",
        "keyframe_terse:ruler=a",
        "keyframe_terse:ruler=[1]",
        "unknown",
        "",
        {},
        {"name": 5},
    ],
)
def test_options_that_make_no_sense_are_one_clear_error(prompt: Any):
    scene = moving_squares()
    model = ReVSeg(policy=Oracle({"rounds": [[prompt, "keyframe_json"], GOOD]}), tracker="oracle")
    with pytest.raises(SpecError):
        model.segment(scene.video, scene.query, scene.truth)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", "[]", "1", "\ud800", '{"rounds": 5}', '{"rounds": [["box"]]}', ""]
)
def test_a_damaged_revseg_json_names_the_file_or_the_setting(tmp_path: Path, text: str):
    from revseg.policies.hf.taught import read_defaults

    (tmp_path / "revseg.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"revseg\.json|was taught"):
        ReVSeg(policy=Oracle(read_defaults(str(tmp_path)))).resolved()


@pytest.mark.parametrize("value", ["[" * 100_000, "[" + "-" * 100_000 + "1]", "((" * 9_999, "{" * 100_000])
def test_spec_text_of_any_depth_is_words(value: str):
    assert parse_spec(f"at:frames={value}") == ("at", {"frames": value})
    check_foreign("sampler", f"at:frames={value}", "a file", "trust it")


def test_options_of_any_depth_are_refused():
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(SpecError, match="deeper"):
        check_foreign("sampler", {"name": "at", "frames": deep}, "a file", "trust it")


@pytest.mark.slow
def test_a_checkpoint_on_disk_and_the_flag(tmp_path: Path, tiny: str):
    """The whole way: a folder as it is shared, `revseg segment` without and with --trust."""
    from PIL import Image

    mine, frames = tmp_path / "mine.py", tmp_path / "frames"
    mine.write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nfrom revseg.samplers import head as first\n"
    )
    Path(tiny, "revseg.json").write_text(
        json.dumps({"rounds": [["keyframe_terse:size=28", "keyframe_json"]], "sampler": f"{mine}:first"})
    )
    frames.mkdir()
    for number, frame in enumerate(moving_squares(frames=3).frames):
        Image.fromarray(frame).save(frames / f"{number}.png")
    command = [sys.executable, "-c", "from revseg.cli.app import main; main()", "segment", str(frames), "x"]
    command += [
        "--policy",
        f"qwen:model={tiny}",
        "--frames",
        "2",
        "--tracker",
        "fill_box",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "--trust" in done.stderr
    assert len(done.stderr.strip().splitlines()[-1:]) == 1
    assert not (tmp_path / "ran").exists()
    done = subprocess.run([*command, "--trust"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 4), done.stderr  # 4: a random policy's reply cannot be read
    assert (tmp_path / "ran").exists()


WORLD = "shapes:size=2,frames=4,height=48,width=48"
COMMANDS = {
    "evaluate": f"evaluate {WORLD} --limit 1 --tracker fill_box --out OUT --policy POLICY",
    "train": f"train --out OUT --set data.dataset={WORLD} --set model.policy=POLICY --set train.steps=1 "
    "--set train.queries_per_step=1 --set train.group_size=2 --set train.max_new_tokens=8",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_other_commands_ask_for_the_flag_too(command: str, tiny: str, tmp_path: Path):
    from typer.testing import CliRunner

    from revseg.cli.app import app

    mine = tmp_path / "mine.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nfrom revseg.samplers import head as first\n")
    taught = {"rounds": [["keyframe_terse:size=28", "keyframe_json"]], "sampler": f"{mine}:first", "num_frames": 2}
    Path(tiny, "revseg.json").write_text(json.dumps(taught))
    texts = [
        part.replace("OUT", str(tmp_path / "out")).replace("POLICY", f"qwen:model={tiny}")
        for part in COMMANDS[command].split()
    ]
    done = CliRunner().invoke(app, texts)
    assert done.exit_code == 2, done.output
    assert "--trust" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "ran").exists()
    done = CliRunner().invoke(app, [*texts, "--trust"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["", "[]", "5", '{"model": []}', "[" * 100_000, '{"train": "x"}'])
def test_the_settings_of_a_run_that_cannot_be_read_are_one_clear_error(tmp_path: Path, text: str):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(InputError, match=r"train\.json: expected the settings of a training run"):
        claim(tmp_path, {}, None)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    from tiny_qwen import save_tiny_qwen

    return save_tiny_qwen(tmp_path / "tiny")


def test_a_config_that_names_a_kernel_of_the_hub_fetches_none(tiny: str, monkeypatch: pytest.MonkeyPatch):
    """transformers runs what `attn_implementation` names, which may stand in a config.json."""
    from transformers.integrations import hub_kernels

    asked: list[Any] = []
    for name in ("load_and_register_attn_kernel", "get_kernel", "load_and_register_kernel"):
        if hasattr(hub_kernels, name):
            monkeypatch.setattr(hub_kernels, name, lambda *args, **options: asked.append(args))
    path = Path(tiny, "config.json")
    config = json.loads(path.read_text())
    for place in (config, config["text_config"], config["vision_config"]):
        place |= {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    path.write_text(json.dumps(config))
    try:
        policy = HFPolicy(tiny)
    except InputError:
        pass
    else:
        assert "someone" not in str(policy.model.config._attn_implementation)  # pyright: ignore[reportAttributeAccessIssue]
    assert not asked


def test_ablate_takes_its_variants_from_your_program(canary: Canary):
    with pytest.raises(SpecError, match="unknown objective"):
        ablate({"a": ({}, {"objective": "gpro"})}, "shapes:size=1", base=ReVSeg(policy="oracle"))
    assert canary.silent()
