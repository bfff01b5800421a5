"""evaluate() with a served policy: several conversations in flight, and the rows of one at a time."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_openai_policy import BOX, KEYFRAME, ROUNDS, Server, completion, failing
from test_openai_policy import a_listener as a_listener
from test_openai_policy import a_server as a_server

import revseg
from revseg.errors import InputError, PartError, RunStopped
from revseg.evaluation import Results, evaluate
from revseg.evaluation.results import shards
from revseg.masks import MaskTrack
from revseg.types import Message, Reply, Rollout, Sample, Sampling

WORLD = "shapes:size={},split=test,frames=6,height=32,width=32"


def made(server: Server, **options: Any) -> revseg.ReVSeg:
    policy = {"name": "openai", "model": "m", "base_url": server.url, "retries": 0, "give_up": 0, **options}
    return revseg.ReVSeg(policy=policy, tracker="fill_box", plan=ROUNDS, num_frames=4)


def content(path: Path, *apart: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("timings", *apart)} for line in lines]


def digest(body: dict[str, Any]) -> int:
    return hashlib.sha256(json.dumps({**body, "path": ""}, sort_keys=True).encode()).digest()[0]


def by_content(body: dict[str, Any]) -> str:
    """A reply that depends on the whole request, pictures and seed with it, after a while that differs too."""
    number = digest(body)
    time.sleep(0.001 * (number % 20))
    if len(body["messages"]) == 1:
        return KEYFRAME.replace("2", str(1 + number % 4))
    return BOX.replace("7", str(number % 8))


def unlucky(body: dict[str, Any]) -> Any:
    """Of the requests one in four fails, one in four is answered with garbage of several kinds."""
    number = digest(body)
    if number % 4 == 0:
        return failing((500, 400, 429)[number // 4 % 3])
    if number % 4 == 1:
        time.sleep(0.002 * (number % 9))
        kinds: list[Any] = [
            None,
            "no json",
            (200, b"<html>", {}),
            (200, {"choices": []}, {}),
            "[{]",
            completion("x", "length"),
        ]
        found = kinds[number // 4 % 6]
        return (200, found, {}) if isinstance(found, dict) else found
    return by_content(body)


@pytest.mark.parametrize("answer", [by_content, unlucky])
@pytest.mark.parametrize("temperature", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_rows_are_those_of_one_at_a_time(server: Server, tmp_path: Path, answer: Any, temperature: float):
    server.answer = answer
    model = made(server).replace(sampling=Sampling(temperature=temperature, seed=3, max_new_tokens=77))
    files = {}
    for many in (1, 3, 16):
        server.bodies.clear()
        out = tmp_path / f"{many}.jsonl"
        evaluate(model, WORLD.format(24), out, concurrency=many, progress=False)
        files[many] = ({digest(body) for body in server.bodies}, content(out))
    for _, rows in files.values():
        crashed = [row["detail"] for row in rows[1:] if (row["failure"] or "").startswith("crash:")]
        assert bool(crashed) == (answer is unlucky), crashed
    for many in (3, 16):
        assert files[many][0] == files[1][0], "the same requests, whatever their order"
        for row, one in zip(files[many][1], files[1][1], strict=True):
            for line in (row, one):  # a traceback names the functions that it came through
                if (line.get("failure") or "").startswith("crash:"):
                    line["detail"] = line["detail"].strip().splitlines()[-1]
            assert row == one


@pytest.mark.parametrize(("asked", "most"), [(None, 4), (2, 2), (1, 1), (9, 9)])
def test_so_many_requests_are_open_at_once(server: Server, tmp_path: Path, asked: int | None, most: int):
    full = threading.Barrier(most, timeout=10)

    def answer(body: dict[str, Any]) -> str:
        if most > 1 and len(server.bodies) <= most:
            full.wait()  # broken, and the test with it, where fewer come together
        return KEYFRAME if len(body["messages"]) == 1 else BOX

    server.answer = answer
    results = evaluate(made(server, concurrency=4), WORLD.format(2 * most), tmp_path / "r.jsonl", concurrency=asked)
    assert server.most == most
    assert results.summary()["crashed"] == 0


class Counting:
    """A dataset that counts how many of its samples were loaded."""

    def __init__(self, size: int) -> None:
        self.data, self.loaded = revseg.build("dataset", WORLD.format(size)), 0

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        self.loaded += 1
        return self.data[index]


def test_a_slow_conversation_bounds_what_is_loaded_and_is_waited_for(server: Server, tmp_path: Path):
    """The others go on to the end of the window and no further while the first is open."""
    data, first, loaded = Counting(24), threading.Lock(), []

    def answer(body: dict[str, Any]) -> str:
        if first.acquire(blocking=False):
            for _ in range(1000):  # until the window is full: four times the conversations at a time
                if data.loaded >= 8:
                    break
                time.sleep(0.01)
            time.sleep(0.1)  # in which no more is to be loaded
            loaded.append(data.loaded)
        return KEYFRAME if len(body["messages"]) == 1 else BOX

    server.answer = answer
    results = evaluate(made(server), data, tmp_path / "r.jsonl", concurrency=2, progress=False)
    assert loaded[0] in (8, 9), "8 after the first row given, of which there is one when the second sample was slow"
    assert [row.index for row in results] == list(range(24))
    assert results.summary()["crashed"] == 0


def test_tracking_goes_on_while_a_conversation_is_open(server: Server, tmp_path: Path):
    """The last conversation ends only when others were tracked: one at a time would wait for ever."""
    tracked = threading.Semaphore(0)

    def tracker(video: Any, groundings: Any) -> MaskTrack:
        tracked.release()
        return MaskTrack.empty(video.size, range(len(video)))

    waiting = threading.Lock()

    def answer(body: dict[str, Any]) -> str:
        if len(body["messages"]) == 1:
            return KEYFRAME
        if waiting.acquire(blocking=False) and not (tracked.acquire(timeout=20) and tracked.acquire(timeout=20)):
            return "nobody was tracked"
        return BOX

    server.answer = answer
    model = made(server).replace(tracker=tracker)
    results = evaluate(model, WORLD.format(6), tmp_path / "r.jsonl", concurrency=2, progress=False)
    assert [row.data["status"] for row in results] == ["found"] * 6


def test_a_server_that_goes_down_stops_the_run_and_keeps_its_rows(server: Server, tmp_path: Path):
    down = threading.Event()

    def answer(body: dict[str, Any]) -> Any:
        if len(server.bodies) > 16:
            down.set()
        if down.is_set():
            return failing(503)
        return by_content(body)

    server.answer = by_content
    whole, out = tmp_path / "whole.jsonl", tmp_path / "r.jsonl"
    evaluate(made(server), WORLD.format(20), whole, progress=False)
    server.bodies.clear()
    server.answer = answer
    model = made(server, give_up=3)
    with pytest.raises(RunStopped, match=r"[3-6] requests in a row"):  # 3, and those that were in flight
        evaluate(model, WORLD.format(20), out, concurrency=4, progress=False)
    kept = list(Results.open(out))
    assert sum(not row.crashed for row in kept) >= 5, "16 requests are at least 6 conversations with 4 in flight"
    assert 2 <= sum(row.crashed for row in kept) <= 6, "those in flight when the third one failed may be among them"
    assert not [thread for thread in threading.enumerate() if thread.name == "conversations"]
    server.answer = by_content
    evaluate(made(server, give_up=3), WORLD.format(20), out, concurrency=4, retry=True, progress=False)
    assert content(out)[1:] == content(whole)[1:]


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on(server: Server, tmp_path: Path):
    server.answer = by_content
    whole, out = tmp_path / "whole.jsonl", tmp_path / "r.jsonl"
    evaluate(made(server), WORLD.format(16), whole, concurrency=1, progress=False)
    policy = {"name": "openai", "model": "m", "base_url": server.url, "retries": 0, "give_up": 0}
    script = f"""
        import revseg, signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
        model = revseg.ReVSeg(policy={policy!r}, tracker="fill_box", plan={ROUNDS!r}, num_frames=4)
        revseg.evaluate(model, {WORLD.format(16)!r}, {str(out)!r}, concurrency=4, progress=False)
    """
    for end in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE)
        server.bodies.clear()
        many = 0
        server.answer = lambda body: (
            by_content(body) if len(server.bodies) < 12 else time.sleep(0.5) or by_content(body)
        )
        while process.poll() is None and many < 12:
            many = len(server.bodies)
            time.sleep(0.005)
        assert process.poll() is None
        process.send_signal(end)
        assert process.wait(20) != 0
        assert process.stderr is not None
        process.stderr.close()
        assert shards(out)
    torn = shards(out)[0]
    torn.write_bytes(torn.read_bytes() + b'{"index": 15, "fail')
    server.answer = by_content
    evaluate(made(server), WORLD.format(16), out, concurrency=4, progress=False)
    assert content(out) == content(whole)


def test_ranks_and_retries_with_concurrency(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server.answer = by_content
    whole, out = tmp_path / "whole.jsonl", tmp_path / "r.jsonl"
    evaluate(made(server), WORLD.format(9), whole, concurrency=1, progress=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        evaluate(made(server), WORLD.format(9), out, concurrency=3, progress=False)
    assert content(out) == content(whole)


@pytest.mark.slow
def test_workers_with_concurrency(server: Server, tmp_path: Path):
    server.answer = by_content
    whole, out = tmp_path / "whole.jsonl", tmp_path / "r.jsonl"
    evaluate(made(server), WORLD.format(9), whole, concurrency=1, progress=False)
    evaluate(made(server), WORLD.format(9), out, concurrency=3, workers=2, progress=False)
    assert content(out) == content(whole)


def test_what_breaks_in_one_sample_is_its_row(server: Server, tmp_path: Path):
    """In reading, sampling, asking, parsing, tracking: the others have their rows, in order."""
    server.answer = by_content

    class Broken(Counting):
        def __getitem__(self, index: int) -> Sample:
            if index == 1:
                raise ValueError("reading")
            return super().__getitem__(index)

    data = Broken(12)
    names = [sample.query.id for sample in data.data]

    def sampler(video: Any, query: Any, n: int) -> Any:
        if query.id == names[3]:
            raise ValueError("sampling")
        return revseg.build("sampler", "uniform")(video, query, n)

    def plan(rollout: Rollout) -> Any:
        if rollout.query.id == names[5]:
            raise ValueError("planning")
        return two(rollout)

    two = made(server).built_plan

    def tracker(video: Any, groundings: Any) -> MaskTrack:
        if video.id == data.data[7].video.id:
            raise ValueError("tracking")
        return MaskTrack.empty(video.size, range(len(video)))

    model = made(server).replace(sampler=sampler, plan=plan, tracker=tracker)
    results = evaluate(model, data, tmp_path / "r.jsonl", concurrency=3, progress=False)
    rows = list(results)
    assert [row.index for row in rows] == list(range(12))
    assert {row.index: row.data["detail"].strip().splitlines()[-1] for row in rows if row.crashed} == {
        1: "ValueError: reading",
        3: "ValueError: sampling",
        5: "ValueError: planning",
        7: "ValueError: tracking",
    }


class Own:
    """The smallest served policy: what it gives is the test's."""

    concurrency: Any = 3

    def __init__(self, give: Any = None) -> None:
        self.give, self.open, self.most, self.closed = give, 0, 0, 0

    def reply(self, rollouts: Sequence[Rollout], prompts: Sequence[Message], *, sampling: Sampling) -> list[Reply]:
        return [Reply(KEYFRAME if not rollout.turns else BOX) for rollout in rollouts]

    @contextlib.asynccontextmanager
    async def connected(self, *, sampling: Sampling) -> AsyncIterator[Any]:
        async def one(rollout: Rollout, prompt: Message) -> Any:
            if self.give is not None:
                return self.give()
            return self.reply([rollout], [prompt], sampling=sampling)[0]

        try:
            yield one
        finally:
            self.closed += 1


def test_a_served_policy_of_ones_own(tmp_path: Path):
    policy = Own()
    model = revseg.ReVSeg(policy=policy, tracker="fill_box", plan=ROUNDS, num_frames=4)
    evaluate(model, WORLD.format(7), tmp_path / "n.jsonl", progress=False)
    assert policy.closed == 1
    evaluate(model, WORLD.format(7), tmp_path / "1.jsonl", concurrency=1, progress=False)
    assert policy.closed == 1
    assert content(tmp_path / "n.jsonl") == content(tmp_path / "1.jsonl")


def test_the_next_requests_are_prepared_while_the_server_is_busy(tmp_path: Path):
    """With 2 requests at a time, 4 conversations are open; what 2 of them wait for room is not in their seconds."""

    class Preparing(Own):
        def __init__(self) -> None:
            super().__init__()
            self.prepared, self.asked, self.enough = [], [], asyncio.Event()

        @contextlib.asynccontextmanager
        async def connected(self, *, sampling: Sampling) -> AsyncIterator[Any]:
            yield self

        async def prepare(self, rollout: Rollout, prompt: Message) -> None:
            self.prepared.append(prompt)
            if len(self.prepared) == 4:
                self.enough.set()

        async def __call__(self, rollout: Rollout, prompt: Message) -> Reply:
            assert prompt in self.prepared
            self.asked.append(prompt)
            self.open += 1
            self.most = max(self.most, self.open)
            if len(self.asked) <= 2:
                await asyncio.wait_for(self.enough.wait(), 20)
                await asyncio.sleep(1)
            self.open -= 1
            return self.reply([rollout], [prompt], sampling=Sampling())[0]

    policy = Preparing()
    model = revseg.ReVSeg(policy=policy, tracker="fill_box", plan=ROUNDS, num_frames=4)
    results = evaluate(model, WORLD.format(6), tmp_path / "r.jsonl", concurrency=2, progress=False)
    assert policy.most == 2
    assert len(policy.prepared) == len(policy.asked) == 12
    seconds = [row.data["timings"]["rollout"] for row in results]
    assert min(seconds[:2]) >= 1, "those that the server kept"
    assert max(seconds[2:]) < 1, "those that waited for room meanwhile"


@pytest.mark.parametrize("error", [StopIteration, ZeroDivisionError])
def test_whatever_a_plan_raises_ends_its_conversation_alone(tmp_path: Path, error: type[Exception]):
    def plan(rollout: Rollout) -> Any:
        if rollout.turns and rollout.query.id == "shapes-test-0-2-query":
            raise error("enough")
        return two(rollout)

    two = revseg.ReVSeg(policy="oracle", plan=ROUNDS).built_plan
    model = revseg.ReVSeg(policy=Own(), tracker="fill_box", plan=plan, num_frames=4)
    results = list(evaluate(model, WORLD.format(5), tmp_path / "r.jsonl", concurrency=2, progress=False))
    assert [row.crashed for row in results] == [row.query == "shapes-test-0-2-query" for row in results]
    assert sum(row.crashed for row in results) == 1
    assert f"{error.__name__}: enough" in results[2].data["detail"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("conversations", "plans"))]


def test_a_policy_that_gives_something_else_is_named(tmp_path: Path):
    model = revseg.ReVSeg(policy=Own(lambda: "text"), tracker="fill_box", plan=ROUNDS, num_frames=4)
    results = evaluate(model, WORLD.format(5), tmp_path / "r.jsonl", progress=False)
    assert all("PartError" in row.data["detail"] and "Own" in row.data["detail"] for row in results)
    for count in (0, 2.0, True, "8", None):
        policy = Own()
        policy.concurrency = count
        with pytest.raises(PartError, match="concurrency as a whole number"):
            evaluate(model.replace(policy=policy), WORLD.format(5), tmp_path / f"{count}.jsonl", progress=False)


def test_a_connection_that_breaks_or_a_part_that_exits_ends_the_run(tmp_path: Path):
    class Closed(Own):
        @contextlib.asynccontextmanager
        async def connected(self, *, sampling: Sampling) -> AsyncIterator[Any]:
            raise InputError("no way in")
            yield

    model = revseg.ReVSeg(policy=Closed(), tracker="fill_box", plan=ROUNDS, num_frames=4)
    with pytest.raises(InputError, match="no way in"):
        evaluate(model, WORLD.format(5), tmp_path / "a.jsonl", progress=False)
    with pytest.raises(SystemExit):
        evaluate(model.replace(policy=Own(sys.exit)), WORLD.format(5), tmp_path / "b.jsonl", progress=False)
    assert not [thread for thread in threading.enumerate() if thread.name == "conversations"]


@pytest.mark.parametrize("asked", [0, -1, True])
def test_a_wrong_concurrency_is_refused(server: Server, tmp_path: Path, asked: Any):
    with pytest.raises(InputError, match="concurrency"):
        evaluate(made(server), WORLD.format(2), tmp_path / "r.jsonl", concurrency=asked)
    assert not os.listdir(tmp_path)


def test_concurrency_is_for_served_policies_and_without_batches(server: Server, tmp_path: Path):
    oracle = revseg.ReVSeg(policy="oracle", tracker="fill_box", num_frames=4)
    with pytest.raises(InputError, match="served policy"):
        evaluate(oracle, WORLD.format(2), tmp_path / "a.jsonl", concurrency=2)
    with pytest.raises(InputError, match="not both"):
        evaluate(made(server), WORLD.format(2), tmp_path / "b.jsonl", concurrency=2, batch=2)
    assert not list(tmp_path.glob("*.shard-0000")), "refused before a file is begun"
    evaluate(oracle, WORLD.format(2), tmp_path / "c.jsonl", concurrency=1, progress=False)
    server.answer = by_content
    assert len(evaluate(made(server), WORLD.format(4), tmp_path / "d.jsonl", batch=2, progress=False)) == 4
    assert server.most <= 2
