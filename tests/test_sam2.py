"""`sam2`, `sam2_hf`, `sam3` and `edgetam` on small random models: equal to both packages, and flat in memory."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from parts import built
from PIL import Image
from safetensors.torch import load_file
from tiny_sam2 import save_tiny_sam2, save_tiny_sam2_hf
from tiny_sam3 import HAS_SAM3, save_tiny_edgetam, save_tiny_sam3

import revseg
from revseg.errors import InputError
from revseg.masks import MaskTrack
from revseg.trackers import streaming
from revseg.types import Grounding
from revseg.video import Video
from revseg.video import video as video_module

SAVE: dict[str, Callable[[Path], None]] = {
    "sam2": save_tiny_sam2,
    "sam2_hf": save_tiny_sam2_hf,
    **({"sam3": save_tiny_sam3} if HAS_SAM3 else {}),
    "edgetam": save_tiny_edgetam,
}
PORTS = {  # transformers' classes for the folders above
    "sam2_hf": ("Sam2VideoModel", "Sam2VideoProcessor"),
    "sam3": ("Sam3TrackerVideoModel", "Sam3TrackerVideoProcessor"),
    "edgetam": ("EdgeTamVideoModel", "Sam2VideoProcessor"),
}
FIRST = np.array([[0.25, 0.2, 0.5, 0.55]], np.float32)
SECOND = np.array([[0.6, 0.5, 0.9, 0.95]], np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = {name: tmp_path_factory.mktemp(name) for name in SAVE}
    for name, folder in where.items():
        SAVE[name](folder)
    return where


def moving_square(length: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """uint8[t h w 3]: a red square crosses a grey texture."""
    h, w = size
    texture = np.random.default_rng(0).integers(40, 120, (h, w, 1), np.uint8)
    frames = np.repeat(np.broadcast_to(texture, (h, w, 3))[None], length, 0)
    for t in range(length):
        left = (3 * t) % (w - 15)
        frames[t, 10:25, left : left + 15] = (250, 40, 30)
    return frames


def video_of(frames: np.ndarray) -> Video:
    return Video("square", (frames.shape[1], frames.shape[2]), 10.0, len(frames), lambda ids: frames[ids])


def meta_predictor(folder: Path):
    """Meta's video predictor as its notebook builds it, without the hole filling that needs a CUDA extension."""
    from hydra.utils import instantiate

    config = OmegaConf.load(folder / "sam2_tiny.yaml")
    settings = {
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "fill_hole_area": 0,
        "binarize_mask_from_pts_for_mem_enc": True,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }
    predictor = instantiate(OmegaConf.merge(config.model, settings)).eval()
    predictor.load_state_dict(load_file(folder / "sam2_tiny.safetensors"))
    return predictor


def meta_masks(folder: Path, jpegs: Path, prompts: list[dict], objects: int, length: int) -> np.ndarray:
    """bool[o t h w] as the notebook gets them: prompts, then a sweep each way."""
    predictor = meta_predictor(folder)
    state = predictor.init_state(str(jpegs))
    for prompt in prompts:
        predictor.add_new_points_or_box(state, **prompt)
    found: dict[int, np.ndarray] = {}
    for reverse in (False, True):
        for frame_id, _, logits in predictor.propagate_in_video(state, reverse=reverse):
            found[frame_id] = (logits[:, 0] > 0).numpy()
    assert len(found) == length
    masks = np.stack([found[t] for t in range(length)], 1)
    assert masks.shape[0] == objects
    return masks


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jpegs")
    for i, frame in enumerate(moving_square(24)):
        Image.fromarray(frame).save(folder / f"{i:05d}.jpg")
    return folder


def video_of_folder(folder: Path) -> Video:
    return video_of(np.stack([np.array(Image.open(p)) for p in sorted(folder.glob("*.jpg"))]))


def pixels(box: np.ndarray) -> np.ndarray:
    return box[0] * np.array([64, 48, 64, 48], np.float32)


def different(one: MaskTrack) -> int:
    """How many different masks a track shows: a model whose masks never change would prove nothing."""
    return len({counts for row in one.counts for counts in row})


def test_sam2_gives_the_masks_of_metas_predictor(folders: dict[str, Path], jpegs: Path) -> None:
    """Two objects, the keyframe in the middle."""
    groundings = [Grounding(9, FIRST), Grounding(9, SECOND, object_id=1)]
    got = revseg.build("tracker", {"name": "sam2", "model": str(folders["sam2"])})(video_of_folder(jpegs), groundings)
    prompts = [
        {"frame_idx": 9, "obj_id": 0, "box": pixels(FIRST)},
        {"frame_idx": 9, "obj_id": 1, "box": pixels(SECOND)},
    ]
    np.testing.assert_array_equal(got.dense(), meta_masks(folders["sam2"], jpegs, prompts, 2, 24))
    assert different(got) > 40


def test_sam2_gives_metas_masks_with_corrections_and_points(folders: dict[str, Path], jpegs: Path) -> None:
    """A box with points on one frame, another box on a later one."""
    points, labels = np.array([[0.375, 0.25], [0.75, 0.75]], np.float32), np.array([True, False])
    groundings = [Grounding(15, SECOND), Grounding(4, FIRST, points, labels)]
    got = revseg.build("tracker", {"name": "sam2", "model": str(folders["sam2"])})(video_of_folder(jpegs), groundings)
    first = {"points": points * np.array([64, 48], np.float32), "labels": labels.astype(np.int32)}
    prompts = [
        {"frame_idx": 4, "obj_id": 0, "box": pixels(FIRST), **first},
        {"frame_idx": 15, "obj_id": 0, "box": pixels(SECOND)},
    ]
    want = meta_masks(folders["sam2"], jpegs, prompts, 1, 24)
    np.testing.assert_array_equal(got.dense(), want)
    without = revseg.build("tracker", {"name": "sam2", "model": str(folders["sam2"])})(
        video_of_folder(jpegs), groundings[1:]
    )
    assert (without.dense() != want).any(axis=(0, 2, 3))[:15].any()  # the later prompt is seen earlier as well


@pytest.mark.parametrize(
    "name", [*(name for name in PORTS if name in SAVE), pytest.param("edgetam with timm", marks=pytest.mark.slow)]
)
def test_the_masks_are_those_of_transformers_session(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Prompts on frames 9 and 15, tracked both ways from frame 9."""
    import transformers

    folder = folders.get(name, tmp_path)
    if folder == tmp_path:
        pytest.importorskip("timm")
        if not HAS_SAM3:  # 5.5 fetches the released backbone's configuration only to compare ours with it
            pytest.skip("this release of transformers needs the hub to write such a configuration")
        save_tiny_edgetam(folder, timm=True)
        name = "edgetam"
    frames = moving_square(24)
    got = revseg.build("tracker", {"name": name, "model": str(folder)})(
        video_of(frames), [Grounding(15, SECOND), Grounding(9, FIRST)]
    )
    model_class, processor_class = (getattr(transformers, port) for port in PORTS[name])
    model = model_class.from_pretrained(folder).eval()
    processor = processor_class.from_pretrained(folder)
    session = processor.init_video_session(video=frames)
    for frame_id, box in ((9, FIRST), (15, SECOND)):
        processor.add_inputs_to_inference_session(session, frame_id, 0, input_boxes=[[pixels(box).tolist()]])
        model(session, frame_idx=frame_id)
    found = {}
    for reverse in (False, True):
        for out in model.propagate_in_video_iterator(session, start_frame_idx=9, reverse=reverse):
            masks = processor.post_process_masks([out.pred_masks], [[48, 64]], binarize=True)[0]
            found[out.frame_idx] = masks[0, 0].numpy()
    np.testing.assert_array_equal(got.dense()[0], np.stack([found[t] for t in range(24)]))
    assert different(got) > 20


@pytest.mark.parametrize("name", SAVE)
def test_the_model_keeps_a_window_and_reads_a_few_frames(
    name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held does not depend on the length: neither outputs, nor decoded frames, nor features."""
    tracker = built("tracker", {"name": name, "model": str(folders[name])})
    monkeypatch.setattr(video_module, "CHUNK_BYTES", 5 * 48 * 64 * 3)
    held: dict[int, int] = {}
    for length in (20, 40):
        frames, reads, most = moving_square(length), [], 0
        started = []

        def reader(ids: np.ndarray, frames=frames, reads=reads) -> np.ndarray:
            reads.append(len(ids))
            return frames[ids]

        def start(video: Video, original=tracker._model.start, started=started):
            started.append(original(video))
            return started[-1]

        def forget(self, frame_id: int, window: int, original=streaming._Run.forget, started=started) -> None:
            nonlocal most
            original(self, frame_id, window)
            most = max(most, sum(tensors(instance) for instance in started))

        with monkeypatch.context() as patch:
            patch.setattr(tracker._model, "start", start)
            patch.setattr(streaming._Run, "forget", forget)
            tracker(Video("v", (48, 64), 10.0, length, reader), [Grounding(length // 2, FIRST)])
        held[length] = most
        assert max(reads) <= 5
    assert held[20] == held[40] > 0


def tensors(thing: object, seen: set[int] | None = None) -> int:
    """Bytes of the tensors reachable from an instance, the model's own left out."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, torch.nn.Module) or type(thing).__name__ in ("_Sam2", "_Sam2Hf"):
        return 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        return thing.numel() * thing.element_size()
    if isinstance(thing, dict):
        return sum(tensors(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple):
        return sum(tensors(value, seen) for value in thing)
    return tensors(vars(thing), seen) if hasattr(thing, "__dict__") else 0


@pytest.mark.parametrize("name", SAVE)
def test_points_alone_and_half_precision_work(name: str, folders: dict[str, Path]) -> None:
    tracker = built("tracker", {"name": name, "model": str(folders[name]), "dtype": "bfloat16"})
    grounding = Grounding(2, FIRST[:0], np.array([[0.4, 0.4]], np.float32), np.array([True]))
    got = tracker(video_of(moving_square(6)), [grounding])
    assert (got.objects, len(got)) == (1, 6)
    assert got.visible.all()


@pytest.mark.parametrize("name", SAVE)
def test_an_absent_target_is_a_confident_empty_mask(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    tracker = built("tracker", {"name": name, "model": str(folders[name])})
    net = tracker._model.net
    head = (
        net.sam_mask_decoder.pred_obj_score_head.layers[-1]
        if name == "sam2"
        else net.mask_decoder.pred_obj_score_head.proj_out
    )
    torch.nn.init.constant_(head.weight, 0)
    torch.nn.init.constant_(head.bias, -4.0)
    got = tracker(video_of(moving_square(5)), [Grounding(2, FIRST)])
    assert not got.visible.any()
    np.testing.assert_allclose(got.scores, 0.982, atol=1e-3)  # 1 - sigmoid(-4)


def test_weights_are_found_as_a_folder_a_file_and_a_pickle(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["sam2"]
    video, groundings = video_of(moving_square(4)), [Grounding(1, FIRST)]
    want = revseg.build("tracker", f"sam2:model={folder}")(video, groundings)
    weights, config = folder / "sam2_tiny.safetensors", folder / "sam2_tiny.yaml"
    torch.save({"model": load_file(weights)}, tmp_path / "tiny.pt")
    for file in (weights, tmp_path / "tiny.pt"):
        got = revseg.build("tracker", {"name": "sam2", "model": str(file), "config": str(config)})(video, groundings)
        assert got.counts == want.counts
    smaller = revseg.build("tracker", {"name": "sam2", "model": str(folder), "image_size": 64})(video, groundings)
    assert smaller.counts != want.counts


def test_metas_own_configurations_build() -> None:
    """The names that the hub uses lead to a configuration of the package, and it builds with our settings."""
    from revseg.trackers.sam2_network import build_network, find_config

    net = build_network(find_config("configs/sam2.1/sam2.1_hiera_t.yaml"), None)
    assert (net.num_maskmem, net.max_obj_ptrs_in_encoder, net.image_size) == (7, 16, 1024)
    assert net.binarize_mask_from_pts_for_mem_enc
    assert net.sam_mask_decoder.dynamic_multimask_via_stability


def test_what_cannot_be_loaded_says_so(folders: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    import huggingface_hub

    def offline(*args: object, **kwargs: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    tiny = folders["sam2"] / "sam2_tiny.safetensors"
    (tmp_path / "empty").mkdir()
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "a.yaml").write_text("model:\n  _target_: os.system\n  command: 'false'\n")
    (tmp_path / "evil" / "a.safetensors").write_bytes(tiny.read_bytes())
    cases = {
        "facebook/sam2.1-hiera-large": "cannot get sam2.1_hiera_large.pt.*Download it where the hub can be reached",
        "facebook/sam9": "expected a SAM 2 model, a file or a folder.*known: facebook/sam2-hiera-tiny",
        str(tmp_path / "empty"): "expected one .safetensors or .pt or .pth file",
        str(tmp_path / "evil"): "only classes of the sam2 package",
        str(tiny): "expected config=FILE.yaml",
    }
    for model, message in cases.items():
        with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
            revseg.build("tracker", {"name": "sam2", "model": model})
    with pytest.raises(InputError, match="not of this configuration"):
        revseg.build("tracker", {"name": "sam2", "model": str(tiny), "config": "configs/sam2.1/sam2.1_hiera_t.yaml"})
    with pytest.raises(InputError, match="expected the dtype"):
        revseg.build("tracker", {"name": "sam2", "model": str(folders["sam2"]), "dtype": "int8"})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    for model in (str(tmp_path / "empty"), "facebook/sam2.1-hiera-large"):
        with pytest.raises(InputError, match=re.compile("cannot load the tracker model.*pass its folder", re.DOTALL)):
            revseg.build("tracker", {"name": "sam2_hf", "model": model})
