"""What of the plug-in for verl works without verl: rows, positions of expanded tokens, recorded conversations."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parts import built

from revseg.errors import InputError, MissingExtraError, OutputError
from revseg.integrations.verl import AGENT_LOOPS
from revseg.integrations.verl.positions import bind_positions, positions_of, runs_of
from revseg.integrations.verl.rows import reader_to_dict, row_of, sample_of, write_rows
from revseg.integrations.verl.shared import shared
from revseg.integrations.verl.transcript import Transcript
from revseg.masks import MaskTrack
from revseg.policies.checkpoints import folder_of
from revseg.policies.hf.loading import load_codec
from revseg.rollout.converse import ask
from revseg.types import Clip, Message, Query, Sample
from revseg.video import Video

SHAPES = "shapes:size=6,split=test"


@pytest.fixture(scope="module")
def codec() -> Any:
    return load_codec(folder_of("small_sft"))


def sample(video: Video) -> Sample:
    masks = np.zeros((1, len(video), *video.size), bool)
    masks[0, 1, 2:9, 3:12] = True
    return Sample(video, Query("q0", "the red one"), MaskTrack.from_dense(masks), {"split": "test"})


def same(one: Sample, other: Sample) -> None:
    assert other.query == one.query
    assert other.meta == json.loads(json.dumps(one.meta, default=str))
    assert one.truth is not None
    assert other.truth is not None
    assert other.truth.to_dict() == one.truth.to_dict()
    assert (other.video.id, other.video.size, other.video.fps) == (one.video.id, one.video.size, one.video.fps)
    indices = range(len(one.video))
    assert len(other.video) == len(one.video)
    np.testing.assert_array_equal(other.video.read(indices), one.video.read(indices))


def test_rows_of_shapes(tmp_path: Path) -> None:
    """Videos without files are named by dataset and index; the truth is in the row."""
    parquet = pytest.importorskip("pyarrow.parquet")
    data = built("dataset", SHAPES)
    assert write_rows(SHAPES, tmp_path / "rows.parquet", indices=[4, 1]) == 2
    table = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["extra_info"]["index"] for row in table] == [4, 1]
    assert {row["agent_name"] for row in table} == {"revseg"}
    assert table[0]["prompt"] == [{"role": "user", "content": data[4].query.text}]
    for row, index in zip(table, (4, 1), strict=True):
        same(data[index], sample_of(row["extra_info"]))
    with pytest.raises(OutputError):
        write_rows(SHAPES, tmp_path / "rows.parquet")
    assert write_rows(SHAPES, tmp_path / "rows.parquet", overwrite=True) == 6


def test_rows_of_files_folders_and_windows(make_video: Any, tmp_path: Path) -> None:
    """Their rows name the files alone; no dataset is built for them."""
    from PIL import Image

    for number in range(5):
        Image.fromarray(np.full((20, 24, 3), 40 * number, np.uint8)).save(tmp_path / f"{number:05}.png")
    file = Video.open(make_video("rows.mp4", 6), fps=7.0)
    folder = Video.open(tmp_path)
    for video in (file, folder, file.window(2, 5), folder.window(1, 4).window(1, 3)):
        one = sample(video)
        row = row_of(one, 0, "no such dataset")["extra_info"]
        assert "no such dataset" not in row["video"]
        same(one, sample_of(row))


def test_rows_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    video = Video.open(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="no truth"):
        row_of(Sample(video, Query("q", "x")), 0, "shapes")
    with pytest.raises(InputError, match="lacks query_id, query, video, truth, meta"):
        sample_of({"index": 0})
    with pytest.raises(InputError, match="empty"):
        write_rows(SHAPES, tmp_path / "rows.parquet", indices=[])
    assert reader_to_dict(video.reader) is None

    def no_arrow(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_arrow)
    with pytest.raises(MissingExtraError, match=r"revseg\[parquet\]"):
        write_rows(SHAPES, tmp_path / "more.parquet")


def test_positions_of_expanded_tokens(codec: Any) -> None:
    """Two text tokens, a clip of 3 x 1 x 2 tokens, one text token, a picture of 1 x 2 x 1, one text token."""
    video, image = codec.config.video_token_id, codec.config.image_token_id
    ids = [500, 501, *[video] * 6, 502, image, image, 503]
    m = codec.layout.merge
    found = positions_of(ids, codec, images=[[1, 2 * m, m]], videos=[[3, m, 2 * m]])
    # 2 frames a patch at 2 fps are 1 s, and a second is `tokens_per_second` positions
    tps = codec.config.vision_config.tokens_per_second
    time = [2, 2, 2 + tps, 2 + tps, 2 + 2 * tps, 2 + 2 * tps]
    after = max(2 + 2 * tps, 3) + 1
    assert found[0].tolist() == [0, 1, *time, after, after + 1, after + 1, after + 3]
    assert found[1].tolist() == [0, 1, *[2] * 6, after, after + 1, after + 2, after + 3]
    assert found[2].tolist() == [0, 1, *[2, 3] * 3, after, after + 1, after + 1, after + 3]


@pytest.mark.parametrize(
    ("ids", "videos"), [([500, "v", "v", 501], [(1, 1, 3)]), ([500, "v", "v"], []), ([500, 501], [(1, 1, 2)])]
)
def test_placeholders_of_other_pictures(codec: Any, ids: list[Any], videos: list[Any]) -> None:
    tokens = [codec.config.video_token_id if i == "v" else i for i in ids]
    m = codec.layout.merge
    with pytest.raises(InputError, match="placeholder"):
        runs_of(tokens, codec, videos=[(t, h * m, w * m) for t, h, w in videos])


def test_what_verl_calls(codec: Any) -> None:
    """Padding on the left keeps zeros; the seconds do not reach the model."""

    class Processor:
        get_rope_index: Any
        get_rope_index_kwargs: Any

    processor = Processor()
    bind_positions(processor, codec)
    video = codec.config.video_token_id
    ids, mask = torch.tensor([[0, 0, 500, video, video, 501]]), torch.tensor([[0, 0, 1, 1, 1, 1]])
    grids = torch.tensor([[1, codec.layout.merge, 2 * codec.layout.merge]])
    found, _ = processor.get_rope_index(input_ids=ids, attention_mask=mask, video_grid_thw=grids, image_grid_thw=None)
    assert found[:, 0].tolist() == [[0, 0, 0, 1, 1, 3], [0, 0, 0, 1, 1, 3], [0, 0, 0, 1, 2, 3]]
    inputs = {"second_per_grid_ts": [1.0], "pixel_values": 1}
    assert processor.get_rope_index_kwargs(inputs) == {}
    assert inputs == {"pixel_values": 1}
    with pytest.raises(InputError, match="one conversation at a time"):
        processor.get_rope_index(input_ids=ids.repeat(2, 1))


def test_a_transcript() -> None:
    frames = np.arange(4 * 2 * 3 * 3, dtype=np.uint8).reshape(4, 2, 3, 3)
    clip, picture = Clip(frames, np.arange(4)), Clip(frames[:1], np.arange(1))
    talk = Transcript()
    assert talk.left(tokens=3, limit=10) == 10
    talk.ask([1, 2, 3], Message("user", (clip, "a")), 2.0)
    talk.hear([4, 5], [-1.0, -2.0])
    assert talk.left(tokens=3, limit=10) == 5
    talk.ask([6, 7, 8], Message("user", (picture, picture, "b")), 2.0)
    talk.hear([9], None)
    assert talk.prompt == [1, 2, 3]
    assert talk.response == [4, 5, 6, 7, 8, 9]
    assert talk.sampled == [1, 1, 0, 0, 0, 1]
    assert talk.logprobs == [-1.0, -2.0, 0.0, 0.0, 0.0, 0.0]
    assert talk.turns == 4
    assert [np.asarray(image).tolist() for image in talk.pictures["images"]] == [frames[0].tolist()] * 2
    ((pixels, meta),) = talk.pictures["videos"]
    assert pixels.shape == (4, 3, 2, 3)
    assert meta == {
        "fps": 2.0, "total_num_frames": 4, "frames_indices": [0, 1, 2, 3], "duration": 2.0, "height": 2, "width": 3
    }  # fmt: skip


def test_a_group_shares_its_start() -> None:
    """The clip is decoded once, and all get one first message; a failure is not kept."""
    import asyncio

    parts = shared(json.dumps({"num_frames": 4}), folder_of("small_sft"))
    row = row_of(built("dataset", SHAPES)[0], 0, SHAPES)["extra_info"]

    async def starts() -> None:
        one, two = await asyncio.gather(parts.start(row), parts.start(dict(row)))
        assert one is two
        assert len(one.rollout.clip) == 4
        assert one.first is not None
        again = ask(parts.model.built_plan, one.rollout)
        assert again is not None
        assert again[1].text == one.first[1].text
        for _ in range(2):
            with pytest.raises(InputError, match="lacks"):
                await parts.start({**row, "index": 7, "truth": None})
        assert len(parts._starts) == 1

    asyncio.run(starts())


def test_starts_are_forgotten_when_they_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first; rows that fail at the same time do not disturb the others."""
    import asyncio

    import revseg.integrations.verl.shared as module

    parts = module.Shared(*(getattr(shared("", folder_of("small_sft")), name) for name in ("model", "codec")))
    data = built("dataset", SHAPES)
    rows = [row_of(data[i], i, SHAPES)["extra_info"] for i in range(3)]
    broken = [{**rows[0], "index": i, "truth": None} for i in (7, 8)]

    async def starts() -> list[int]:
        found = [await parts.start(row) for row in rows[:2]]
        monkeypatch.setattr(module, "MOST_BYTES", found[0].nbytes + found[1].nbytes)
        await parts.start(rows[0])  # used again: now the other one is the oldest
        mixed = await asyncio.gather(*map(parts.start, [*broken, rows[2]]), return_exceptions=True)
        assert [type(one) for one in mixed] == [InputError, InputError, module.Start]
        await asyncio.sleep(0)
        return [json.loads(key)[0] for key in parts._starts]

    assert asyncio.run(starts()) == [0, 2]


def test_settings_of_the_loop() -> None:
    folder = folder_of("small_sft")
    assert shared("", folder).model.to_dict()["plan"] == [
        ["keyframe_terse:size=84,ruler=14", "keyframe_json"], ["box_terse:size=112,ruler=14", "box_json"]
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"revseg\.settings: expected JSON"):
        shared("plan=two", folder)
    with pytest.raises(InputError, match="expected the policy hf, got 'oracle'"):
        shared(json.dumps({"policy": "oracle"}), folder)
    assert Path(AGENT_LOOPS).is_file()
