"""Folders from elsewhere for `qwen`, its adapters and `sam2_hf`: loaded whole, or one sentence says what is wrong."""

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_qwen import save_tiny_qwen
from tiny_sam2 import save_tiny_sam2, save_tiny_sam2_hf

from revseg.errors import InputError
from revseg.policies.hf.policy import HFPolicy
from revseg.trackers.sam2_hf import Sam2HfTracker

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    save_tiny_qwen(root / "qwen")
    save_tiny_sam2_hf(root / "sam2_hf")
    return {"qwen": root / "qwen", "sam2_hf": root / "sam2_hf"}


BUILD: dict[str, Callable[[str], Any]] = {"qwen": HFPolicy, "sam2_hf": Sam2HfTracker}


class Canary:
    """Unpickled, it makes the file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch CANARY",)


def write(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def cut(name: str, share: float = 0.5) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def tensors(edit: Callable[[dict[str, torch.Tensor]], Any], name: str = WEIGHTS) -> Change:
    def change(folder: Path) -> None:
        state = load_file(folder / name)
        edit(state)
        save_file(state, folder / name, {"format": "pt"})

    return change


def config(edit: Callable[[dict[str, Any]], Any], name: str = CONFIG) -> Change:
    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        edit(data)
        (folder / name).write_text(json.dumps(data))

    return change


def lacks_three(state: dict[str, torch.Tensor]) -> None:
    for name in sorted(name for name in state if "norm" in name)[:3]:
        del state[name]


def wider(state: dict[str, torch.Tensor]) -> None:
    name = max(state, key=lambda n: state[n].ndim == 2)
    state[name] = torch.zeros(3, 5)


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary()))


def indexed(names: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))

    return change


DAMAGE: dict[str, tuple[Change, str]] = {
    "three tensors missing": (tensors(lacks_three), "3 missing"),
    "an unexpected tensor": (tensors(lambda s: s.update(of_another=torch.zeros(1))), r"1 unexpected \(of_another\)"),
    "another shape": (tensors(wider), r"1 of another shape .*\[3, 5\] for"),
    "no tensors": (tensors(dict.clear), "missing"),
    "cut weights": (cut(WEIGHTS), "cut short or damaged"),
    "weights cut by a byte": (cut(WEIGHTS, 0.99999), "cut short or damaged"),
    "empty weights": (write(WEIGHTS, ""), "cut short or damaged"),
    "a pointer": (write(WEIGHTS, POINTER), "Git LFS pointer"),
    "a pointer for the configuration": (write(CONFIG, POINTER), "Git LFS pointer"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "expected weights in"),
    "pickled weights": (pickled, "pickles"),
    "a folder for weights": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), "expected a file"),
    "a pipe for the configuration": (lambda f: ((f / CONFIG).unlink(), os.mkfifo(f / CONFIG)), "expected a file"),
    "a link to nowhere": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).symlink_to("nowhere")), "expected weights"),
    "parts outside": (indexed({"a": "../outside.safetensors"}), "files of this folder"),
    "parts at the root": (indexed({"a": "/etc/passwd"}), "files of this folder"),
    "missing parts": (indexed({"a": "model-00001-of-00002.safetensors"}), "is not there"),
    "an index of numbers": (indexed({"a": 3}), "files of this folder"),
    "an index of nothing": (indexed(None), "files of this folder"),
    "an empty index": (indexed({}), "files of this folder"),
    "a broken index": (lambda f: ((f / WEIGHTS).unlink(), (f / INDEX).write_text("{")), "is not JSON"),
    "a broken configuration": (cut(CONFIG), "is not JSON"),
    "a configuration that is a list": (write(CONFIG, "[]"), "expected a JSON object"),
    "a configuration in no text": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe{"), "is not JSON"),
    "a configuration in brackets": (write(CONFIG, "[" * 100_000), "is not JSON"),
    "an empty configuration": (write(CONFIG, "{}"), "got None"),
    "another type": (config(lambda c: c.update(model_type="qwen2_vl")), "got 'qwen2_vl'"),
    "a type that is a list": (config(lambda c: c.update(model_type=["x"])), r"got \['x'\]"),
    "no configuration": (lambda f: (f / CONFIG).unlink(), "expected a model's config.json"),
    "nothing": (lambda f: [p.unlink() for p in f.iterdir()], "no files"),
    "an adapter": (
        lambda f: (f / CONFIG).rename(f / "adapter_config.json"),
        "holds a LoRA adapter, not a model: write model=BASE,adapter=",
    ),
    "a model and an adapter": (write("adapter_config.json", '{"base_model_name_or_path": "x"}'), "a folder of its own"),
}
QWEN_DAMAGE: dict[str, tuple[Change, str]] = {
    "hidden size": (config(lambda c: c["text_config"].update(hidden_size=32)), "of another shape|cannot make"),
    "text for a number": (config(lambda c: c["text_config"].update(hidden_size="x")), "cannot make a model"),
    "a negative number": (config(lambda c: c["text_config"].update(hidden_size=-8)), "cannot make a model|tensors"),
    "endless layers": (config(lambda c: c["text_config"].update(num_hidden_layers=10**9)), "of at most 1024"),
    "endless depth": (config(lambda c: c["vision_config"].update(depth=10**9)), "of at most 1024"),
    "more layers": (config(lambda c: c["text_config"].update(num_hidden_layers=3, layer_types=None)), "missing"),
    "fewer layers": (config(lambda c: c["text_config"].update(num_hidden_layers=1, layer_types=None)), "unexpected"),
    "no text part": (config(lambda c: c.update(text_config=[])), "cannot make|of another shape|missing"),
    "an unknown quantiser": (config(lambda c: c.update(quantization_config={"quant_method": "awq"})), "cannot make"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("*token*")], "cannot read the processor|<|image_pad|>"),
    "a broken tokenizer": (cut("tokenizer.json"), "is not JSON"),
    "a tokenizer of nothing": (write("tokenizer.json", "{}"), "cannot read the processor"),
    "a broken tokenizer's configuration": (cut("tokenizer_config.json"), "is not JSON"),
    "a broken generation": (write("generation_config.json", "{"), "is not JSON"),
    "an end in words": (config(lambda c: c.update(eos_token_id=["x", 1]), "generation_config.json"), "eos_token_id"),
    "an end beyond": (config(lambda c: c.update(eos_token_id=10**20), "generation_config.json"), "eos_token_id"),
    "endless vocabulary": (config(lambda c: c["text_config"].update(vocab_size=10**12)), "network of 64,000,0"),
    "positions in words": (
        config(lambda c: c["text_config"]["rope_parameters"].update(mrope_section=["a"])),
        "mrope_section that sums to",
    ),
    "a template that divides by zero": (write("chat_template.jinja", "{{ 1 // 0 }}"), "the chat template in"),
    "a template that reaches out": (
        write("chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "the chat template in",
    ),
    "no template": (lambda f: (f / "chat_template.jinja").unlink(), "no chat template"),
    "colours in words": (
        config(lambda c: c["image_processor"].update(image_mean="x"), "processor_config.json"),
        "three numbers as image_mean",
    ),
    "colours without spread": (
        config(lambda c: c["image_processor"].update(image_std=[0, 1, 1]), "processor_config.json"),
        "numbers above 0 as image_std",
    ),
    "another model beside": (
        config(lambda c: c.update(audio_tokenizer={"audio_tokenizer_class": "x"}), "processor_config.json"),
        "names an audio_tokenizer",
    ),
    "no preprocessor": (
        lambda f: [p.unlink() for p in f.glob("*processor_config.json")],
        "cannot read the processor",
    ),
    "another patch size": (
        config(lambda c: c["image_processor"].update(patch_size=7), "processor_config.json"),
        "the patch size .* is 7",
    ),
    "another token for pictures": (config(lambda c: c.update(image_token_id=3)), "the token <.image_pad.>"),
    "too few rows": (
        lambda f: (config(lambda c: c["text_config"].update(vocab_size=100))(f), shrink(f, 100)),
        "has token .* and the model 100 rows",
    ),
}


SAM2_DAMAGE: dict[str, tuple[Change, str]] = {
    "another network within": (
        config(lambda c: c["vision_config"].update(backbone_config={"model_type": "timm_backbone", "backbone": "x"})),
        "expected parts of sam2 .* 'timm_backbone'",
    ),
    "endless blocks": (
        config(lambda c: c["vision_config"]["backbone_config"].update(blocks_per_stage=[10**7, 1, 1, 1])),
        "of at most 1024",
    ),
    "endless memories": (config(lambda c: c.update(num_maskmem=10**9)), "network of 64,00"),
    "endless positions": (config(lambda c: c.update(memory_attention_rope_feat_sizes=[10**5] * 2)), "network of 20,0"),
    "memories in words": (config(lambda c: c.update(num_maskmem="x")), "cannot make a model"),
    "another model": (config(lambda c: c.update(model_type="qwen2_5_vl")), "expected model_type sam2_video"),
    "no processor": (lambda f: [p.unlink() for p in f.glob("*processor*")], "cannot read the processor"),
}


def shrink(folder: Path, rows: int) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        for name in state:
            if "embed_tokens" in name or "lm_head" in name:
                state[name] = state[name][:rows].clone()

    tensors(edit)(folder)


def damaged(folders: dict[str, Path], name: str, where: Path, change: Change) -> str:
    shutil.copytree(folders[name], where / "model")
    change(where / "model")
    return str(where / "model")


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_one_sentence(name: str, case: str, folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    change, match = DAMAGE[case]
    with pytest.raises(InputError, match=match) as error:
        BUILD[name](damaged(folders, name, tmp_path, change))
    assert "\n" not in str(error.value)
    assert not Path("CANARY").exists()


@pytest.mark.parametrize("case", QWEN_DAMAGE)
def test_a_qwen_folder_of_unlike_parts_is_one_sentence(case: str, folders, tmp_path: Path) -> None:
    change, match = QWEN_DAMAGE[case]
    with pytest.raises(InputError, match=match) as error:
        HFPolicy(damaged(folders, "qwen", tmp_path, change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", SAM2_DAMAGE)
def test_a_sam2_folder_of_unlike_parts_is_one_sentence(case: str, folders, tmp_path: Path) -> None:
    change, match = SAM2_DAMAGE[case]
    with pytest.raises(InputError, match=match) as error:
        Sam2HfTracker(damaged(folders, "sam2_hf", tmp_path, change))
    assert "\n" not in str(error.value)


def test_a_hub_name_is_a_folder_of_the_cache(folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched in one call; what is saved later names the model, not this machine's cache."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(folders[name.split("/")[1]]))
    model: Any = HFPolicy("some/qwen").model
    assert model.config._name_or_path == model.name_or_path == "some/qwen"
    Sam2HfTracker("some/sam2_hf")


@pytest.mark.parametrize("name", BUILD)
def test_what_is_no_folder(name: str, folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders[name], "runs/mine")
    cases = {
        str(folders[name] / WEIGHTS): "got the file",
        "runs/mien": r"no folder 'runs/mien' here \(did you mean 'runs/mine'\?\)",
        "./runs/mien": "no folder './runs/mien'",
        "/nowhere/at/all": "no folder '/nowhere/at/all'",
        "a/b/c": "no folder",
        "": "no folder ''",
        "Qwen/Qwen2.5-VL-7B-Instruct": "no folder 'Qwen/.* the hub gives no model",
    }
    for model, match in cases.items():
        with pytest.raises(InputError, match=match) as error:
            BUILD[name](model)
        assert "\n" not in str(error.value)
    BUILD[name]("runs/mine")


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"dtype": "bf16"}, "write dtype=bfloat16"),
        ({"dtype": "fp16"}, "write dtype=float16"),
        ({"dtype": "torch.float32"}, "write dtype=float32"),
        ({"dtype": "manual_seed"}, "expected the dtype"),
        ({"dtype": "int8"}, "expected the dtype"),
        ({"device": "gpu"}, "auto, cpu or cuda:0"),
        ({"device": "cuda:77"}, "auto, cpu or cuda:0"),
        ({"device": "meta"}, "auto, cpu or cuda:0"),
        ({"device_map": "everywhere"}, "cannot make a model"),
        ({"attention": "fast"}, "cannot make a model"),
        ({"attention": "kernels-community/evil"}, "cannot make a model"),
    ],
)
def test_options_that_cannot_be_used(option: dict[str, str], match: str, folders) -> None:
    with pytest.raises(InputError, match=match) as error:
        HFPolicy(str(folders["qwen"]), **option)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl_moe"])
def test_another_model_of_the_family_is_not_run_on_random_weights(kind: str, tmp_path: Path) -> None:
    import transformers

    part = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    text = {**part, "intermediate_size": 32, "vocab_size": 64, "head_dim": 16}
    if kind == "qwen2_vl":
        vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2}
        net: Any = transformers.Qwen2VLForConditionalGeneration(
            transformers.Qwen2VLConfig(text_config=text, vision_config=vision)
        )
    else:
        vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 32}
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        text |= {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
        net = transformers.Qwen3VLMoeForConditionalGeneration(
            transformers.Qwen3VLMoeConfig(text_config=text, vision_config=vision)
        )
    net.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"expected model_type qwen2_5_vl .*, got '{kind}'.*the policy openai"):
        HFPolicy(str(tmp_path))


def test_names_of_older_transformers_are_the_same_model(folders, tmp_path: Path) -> None:
    def rename(state: dict[str, torch.Tensor]) -> None:
        for name in list(state):
            old = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
            state[old] = state.pop(name)

    old = damaged(folders, "qwen", tmp_path, tensors(rename))
    assert "visual.patch_embed.proj.weight" in load_file(Path(old, WEIGHTS))
    want, got = (HFPolicy(model).model.state_dict() for model in (str(folders["qwen"]), old))
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_tied_and_untied_heads(folders, tmp_path: Path) -> None:
    """A tied head has no tensor of its own; where the configuration does not tie it, it is missing."""
    folder = Path(damaged(folders, "qwen", tmp_path, lambda f: None))
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    head = HFPolicy(str(folder)).model.state_dict()["lm_head.weight"]
    tie(False)(folder)
    with pytest.raises(InputError, match=r"1 missing \(lm_head.weight\)"):
        HFPolicy(str(folder))
    tensors(lambda s: s.update({"lm_head.weight": head + 1}))(folder)
    assert torch.equal(HFPolicy(str(folder)).model.state_dict()["lm_head.weight"], head + 1)


def tie(tied: bool) -> Change:
    ties = {"tie_word_embeddings": tied}
    return config(lambda c: (c.update(ties), c["text_config"].update(ties)))


def test_the_folders_code_is_not_run(folders, tmp_path: Path, monkeypatch) -> None:
    """auto_map, a kernel's name and another file of weights are not the folder's to choose."""
    monkeypatch.chdir(tmp_path)
    evil = {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}}

    def change(folder: Path) -> None:
        (folder / "evil.py").write_text("open('CANARY', 'w')\nclass Evil: pass\n")
        (folder / "generate.py").write_text("open('CANARY', 'w')\n")
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text("open('CANARY', 'w')\ndef generate(*a, **k): pass\n")
        edit = {**evil, "attn_implementation": "evil/kernel", "_attn_implementation": "evil/kernel"}
        edit["transformers_weights"] = "adapter_model.bin"
        config(lambda c: (c.update(edit), c["text_config"].update(edit)))(folder)
        for name in ("tokenizer_config.json", "processor_config.json"):
            config(lambda c: c.update(evil, tokenizer_class="Evil", processor_class="Evil"), name)(folder)
            config(lambda c: c.update(evil, processor_class="Evil"), name)(folder)

    HFPolicy(damaged(folders, "qwen", tmp_path, change))
    assert not Path("CANARY").exists()


def test_sam2s_two_formats_name_one_another(tmp_path: Path) -> None:
    save_tiny_sam2(tmp_path)
    with pytest.raises(InputError, match="use sam2:model="):
        Sam2HfTracker(str(tmp_path))


# adapters


@pytest.fixture(scope="module")
def lora(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """lora(folder, **config) -> the folder of an adapter that moves the log-probs, and the peft model's own logits."""
    from peft import LoraConfig, get_peft_model

    def make(**options: Any) -> Path:
        folder = tmp_path_factory.mktemp("lora")
        options = {"r": 2, "target_modules": ["q_proj", "v_proj"], **options}
        peft: Any = get_peft_model(HFPolicy(str(folders["qwen"])).model, LoraConfig(**options))  # pyright: ignore
        draw = torch.Generator().manual_seed(0)
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw)
        peft.save_pretrained(str(folder))
        torch.save(logits(peft), folder / "logits.pth")
        return folder

    return make


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None] + 20).logits


def applied(folders: dict[str, Path], adapter: Path) -> float:
    """How far the adapter's effect is from what peft itself gave."""
    want = torch.load(adapter / "logits.pth", weights_only=True)
    got = logits(HFPolicy(str(folders["qwen"]), adapter=str(adapter)).model)
    plain = logits(HFPolicy(str(folders["qwen"])).model)
    assert (plain - want).abs().max() > 0.01, "the case wants an adapter that does something"
    return float((got - want).abs().max())


LM = "model.language_model.layers"
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled by the root": {"use_rslora": True, "lora_alpha": 3},
    "ranks and alphas of their own": {
        "rank_pattern": {"q_proj": 4, f"{LM}.1.self_attn.v_proj": 3},
        "alpha_pattern": {"v_proj": 5, "layers.0.self_attn.q_proj": 7},
    },
    "patterns with signs": {"rank_pattern": {r"layers\.1\..*q_proj": 5}, "alpha_pattern": {r".*\.0\..*": 9}},
    "by a pattern": {"target_modules": r".*language_model.*\.(q_proj|down_proj)"},
    "both parts": {"target_modules": ["q_proj", "gate_proj", "qkv"]},
    "all linear": {"target_modules": "all-linear"},
    "some layers": {"layers_to_transform": [1]},
    "some layers of one part": {"target_modules": ["gate_proj"], "layers_to_transform": 0, "layers_pattern": "layers"},
    "some left out": {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
    "modules saved whole": {"modules_to_save": ["norm"]},
    "a head saved whole": {"modules_to_save": ["lm_head"]},
    "directions": {"use_dora": True},
    "for a task": {"task_type": "CAUSAL_LM"},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "biases": {"bias": "lora_only"},
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's, of tied heads and saved embeddings
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("old", [False, True])
def test_adapters_do_what_peft_says(kind: str, old: bool, lora, folders, tmp_path: Path) -> None:
    """Under today's names and under those of transformers before 4.52."""
    adapter = lora(**copy.deepcopy(KINDS[kind]))
    if old:
        shutil.copytree(adapter, tmp_path / "old")
        adapter = tmp_path / "old"
        tensors(older, "adapter_model.safetensors")(adapter)
        text = (adapter / "adapter_config.json").read_text().replace("model.language_model.", "model.")
        (adapter / "adapter_config.json").write_text(text.replace("language_model", "layers"))
    assert applied(folders, adapter) < 1e-4


def older(state: dict[str, torch.Tensor]) -> None:
    for name in list(state):
        short = name.replace("model.language_model.", "model.").replace("model.model.visual.", "model.visual.")
        state[short] = state.pop(name)
    assert not any("language_model" in name for name in state)


ADAPTER = "adapter_model.safetensors"


def setting(**values: Any) -> Change:
    return config(lambda c: c.update(values), "adapter_config.json")


def first_of(state: dict[str, torch.Tensor]) -> str:
    return next(name for name in sorted(state) if "lora_A" in name)


def other_names(state: dict[str, torch.Tensor]) -> None:
    for name in list(state):
        state[name.replace("language_model", "decoder")] = state.pop(name)


ADAPTERS: dict[str, tuple[Change, str]] = {
    "a tensor missing": (tensors(lambda s: s.pop(first_of(s)), ADAPTER), r"1 missing \(.*lora_A"),
    "a layer missing": (
        tensors(lambda s: [s.pop(n) for n in list(s) if "layers.1.self_attn.q_proj" in n], ADAPTER),
        r"1 missing \(model.language_model.layers.1.self_attn.q_proj",
    ),
    "other names": (tensors(other_names, ADAPTER), r"4 unexpected \(model.decoder"),
    "another base": (
        tensors(lambda s: [s.update({n: torch.zeros(2, 99)}) for n in list(s) if "lora_A" in n], ADAPTER),
        "4 of another shape",
    ),
    "another rank": (setting(r=16), "of another rank than 16"),
    "an endless rank": (setting(r=10**12), "of another rank"),
    "a rank in words": (setting(r="many"), "of another rank"),
    "an alpha in words": (setting(lora_alpha="much"), "expected numbers as lora_alpha"),
    "no number as alpha": (setting(alpha_pattern={"q_proj": float("nan")}), "expected numbers as lora_alpha"),
    "dropout in words": (setting(lora_dropout="much"), "cannot be put on this model"),
    "patterns in a list": (setting(rank_pattern=["x"]), "expected tables"),
    "nothing in it": (tensors(dict.clear, ADAPTER), "holds no LoRA tensors"),
    "another tensor": (tensors(lambda s: s.update(score=torch.zeros(2)), ADAPTER), "1 unexpected .*score"),
    "another kind": (setting(peft_type="IA3"), "expected peft_type LORA .* got 'IA3'"),
    "no kind": (setting(peft_type=None), "got None"),
    "code to import": (setting(megatron_config={"a": 1}, megatron_core="evil"), "sets megatron"),
    "layers repeated": (setting(layer_replication=[[0, 2], [0, 2]]), "sets layer_replication"),
    "parameters": (setting(target_parameters=["a"]), "sets target_parameters"),
    "a future setting": (setting(shiny=True), "sets shiny"),
    "a start that moved the model": (setting(init_lora_weights="pissa"), "init_lora_weights 'pissa'"),
    "a pattern without end": (setting(target_modules=r"((.|[a-z])*)*[XY]"), "unusable pattern"),
    "a rank pattern without end": (setting(rank_pattern={r"((.|[a-z])*)*[XY]": 3}), "unusable pattern"),
    "a pattern that names nothing": (setting(target_modules="nothing"), "4 unexpected"),
    "a pattern that names fewer": (setting(target_modules=["q_proj"]), "2 unexpected .*v_proj"),
    "no pattern": (setting(target_modules="(("), "unusable pattern"),
    "targets that are numbers": (setting(target_modules=[1]), "a pattern or a list of names"),
    "saved modules by a pattern": (setting(modules_to_save=["(a+)+"]), "names of modules"),
    "a broken configuration": (cut("adapter_config.json"), "is not JSON"),
    "no configuration": (lambda f: (f / "adapter_config.json").unlink(), "with adapter_config.json"),
    "cut weights": (cut(ADAPTER), "cut short or damaged"),
    "a pointer": (write(ADAPTER, POINTER), "Git LFS pointer"),
    "pickled": (
        lambda f: ((f / ADAPTER).unlink(), (f / "adapter_model.bin").write_bytes(pickle.dumps(Canary()))),
        "the pickle adapter_model.bin",
    ),
    "no weights": (lambda f: [p.unlink() for p in (f / ADAPTER, f / "logits.pth")], "got none"),
}


WAITS = "a rank pattern without end"  # for its time limit, as the pattern of targets does


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] if c == WAITS else []) for c in ADAPTERS])
def test_a_damaged_adapter_is_one_sentence(case: str, lora, folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    change, match = ADAPTERS[case]
    Path("evil.py").write_text("open('CANARY', 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(lora(), "adapter")
    change(Path("adapter"))
    with pytest.raises(InputError, match=match) as error:
        HFPolicy(str(folders["qwen"]), adapter="adapter")
    assert "\n" not in str(error.value)
    assert not Path("CANARY").exists()


def test_an_adapter_of_a_base_elsewhere_is_put_on_the_model_that_was_named(lora, folders, tmp_path: Path) -> None:
    adapter = lora(task_type="CAUSAL_LM")
    setting(base_model_name_or_path="/etc", auto_mapping={"parent_library": "evil", "base_model_class": "x"})(adapter)
    assert applied(folders, adapter) < 1e-4


def test_folders_in_each_others_place(lora, folders) -> None:
    with pytest.raises(InputError, match="that is a whole model: write qwen:model="):
        HFPolicy(adapter=str(folders["qwen"]))
    with pytest.raises(InputError, match=r"holds a LoRA adapter, not a model: write model=.*,adapter="):
        HFPolicy(str(lora()))
    with pytest.raises(InputError, match="no folder 'runs/nowhere'"):
        HFPolicy(adapter="runs/nowhere")
