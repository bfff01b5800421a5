"""The `openai` policy against a real HTTP server on this machine."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import itertools
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import built
from PIL import Image

import revseg
from revseg.errors import InputError, PartError, RunStopped, SpecError
from revseg.evaluation.results import Results
from revseg.policies.row_seeds import row_seeds
from revseg.registry import build, options_of, registry, spec_of
from revseg.report.site import write_site
from revseg.rollout import converse
from revseg.rollout.plans import InOrder
from revseg.spec import format_spec
from revseg.testing import check_policy
from revseg.types import Answer, Clip, Message, Query, Reply, Rollout, Sampling, Turn

KEYFRAME = '<think>x</think><answer>[{"frame_idx": 2, "object description": "the red dog"}]</answer>'
BOX = '[{"bbox_2d": [7, 14, 21, 28], "label": "dog"}]'
ROUNDS = [("keyframe_terse:size=28", "keyframe_json"), ("box_terse:size=56", "box_json")]
SOON = {"retry-after-ms": "1"}

Answering = Callable[[dict[str, Any]], Any]


class Listener(ThreadingHTTPServer):
    """A real server for the whole module; `talk` is the test at hand's."""

    talk: "Server"
    request_queue_size = 128  # the default of 5 lets Linux reset connections when 16 come at once on a busy machine


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Listener)
        said = self.server.talk.hear(self.path, self.headers.get("Authorization"), body)
        status, content, headers = (200, completion(said), {}) if isinstance(said, str | None) else said
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # a client that gave up waiting
            self.close_connection = True


class Server:
    """What one test says and hears. Replies are texts, or (status, body as JSON or bytes, headers)."""

    def __init__(self, url: str, policies: dict[str, Any]) -> None:
        self.url = url
        self.policies = policies  # shared by the tests: a client takes a while to build
        self.answer: Answering = lambda body: "hello"
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.flying = self.most = 0
        self.lock = threading.Lock()

    def hear(self, path: str, key: str | None, body: dict[str, Any]) -> Any:
        with self.lock:
            self.bodies.append({"path": path, **body})
            self.keys.append(key)
            self.flying += 1
            self.most = max(self.most, self.flying)
        said = self.answer(body)
        with self.lock:
            self.flying -= 1
        return said

    def policy(self, **options: Any) -> Any:
        spec = {"name": "openai", "model": "m", "base_url": self.url, "give_up": 0, **options}
        if repr(spec) not in self.policies:
            self.policies[repr(spec)] = build("policy", spec)
        return self.policies[repr(spec)]


@pytest.fixture(scope="module", name="listener")
def a_listener() -> Iterator[tuple[Listener, dict[str, Any]]]:
    http = Listener(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield http, {}
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(name="server")
def a_server(listener: tuple[Listener, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Server:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    http, policies = listener
    http.talk = Server(f"http://127.0.0.1:{http.server_address[1]}/v1", policies)
    return http.talk


def completion(content: Any, reason: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


def failing(status: int, message: str = "no", **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    return status, {"error": {"message": message, "type": "error"}}, headers


def start(name: str = "q", text: str = "the dog", seed: int = 0) -> Rollout:
    """Four frames of 20x30, of smooth colours."""
    y, x = np.mgrid[:20, :30]
    frames = [np.stack([8 * x, 12 * y, np.full_like(x, 40 * i + seed)], -1).astype(np.uint8) for i in range(4)]
    return Rollout(Clip(np.stack(frames), np.array([0, 10, 20, 30])), Query(name, text))


def asking(text: str, *clips: Clip) -> Message:
    return Message("user", (*clips, text))


def ask(policy: Any, rows: list[tuple[Rollout, Message]], **sampling: Any) -> list[str]:
    replies = policy.reply([r for r, _ in rows], [m for _, m in rows], sampling=Sampling(**sampling))
    return [reply.text for reply in replies]


def one(policy: Any, **sampling: Any) -> str:
    return ask(policy, [(start(), asking("hi"))], **sampling)[0]


def pixels(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def pictures(message: dict[str, Any]) -> list[np.ndarray]:
    urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
    return [pixels(url.partition(",")[2]) for url in urls]


# what is sent


@pytest.mark.parametrize(("image_format", "tolerance"), [("png", 0), ("jpeg", 6)])
def test_two_rounds(server: Server, image_format: str, tolerance: int):
    server.answer = lambda body: KEYFRAME if len(body["messages"]) == 1 else BOX
    (rollout,) = converse([start()], server.policy(image_format=image_format), InOrder(ROUNDS), sampling=Sampling())
    (grounding,) = rollout.groundings
    assert (grounding.frame_id, grounding.description) == (20, "the red dog")
    np.testing.assert_allclose(grounding.boxes, [[7 / 56, 14 / 56, 21 / 56, 28 / 56]])

    first, second = server.bodies
    assert first["path"] == "/v1/chat/completions"
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][0] == first["messages"][0]
    assert second["messages"][1] == {"role": "assistant", "content": KEYFRAME}
    assert [p["type"] for p in first["messages"][0]["content"]] == ["image_url"] * 4 + ["text"]
    assert first["messages"][0]["content"][-1]["text"] == " the dog"
    assert first["messages"][0]["content"][0]["image_url"]["url"].startswith(f"data:image/{image_format};base64,")
    for shown, turn in zip((first["messages"][0], second["messages"][2]), rollout.turns, strict=True):
        sent, seen = np.stack(pictures(shown)), turn.prompt.clips[0].frames
        assert sent.shape == seen.shape
        assert np.abs(sent.astype(int) - seen).max() <= tolerance
    assert pictures(second["messages"][2])[0].shape == (56, 56, 3)


def test_the_papers_prompts_keep_their_sizes(server: Server):
    server.answer = lambda body: KEYFRAME if len(body["messages"]) == 1 else BOX
    (rollout,) = converse([start()], server.policy(), build("plan", "two_rounds"), sampling=Sampling())
    assert [p.shape for p in pictures(server.bodies[0]["messages"][0])] == [(448, 448, 3)] * 4
    assert [p.shape for p in pictures(server.bodies[1]["messages"][2])] == [(840, 840, 3)]
    np.testing.assert_allclose(rollout.groundings[0].boxes, [[7 / 840, 14 / 840, 21 / 840, 28 / 840]], rtol=1e-5)


def test_a_clip_as_one_video(server: Server):
    clip = start().clip
    ask(server.policy(video="video_url"), [(start(), asking("which?", clip, clip.pick(1)))])
    video, picture, text = server.bodies[0]["messages"][0]["content"]
    head, *frames = video["video_url"]["url"].split(",")
    assert (video["type"], head) == ("video_url", "data:video/jpeg;base64")
    assert np.abs(np.stack([pixels(frame) for frame in frames]).astype(int) - clip.frames).max() <= 6
    assert (picture["type"], text) == ("image_url", {"type": "text", "text": "which?"})


def test_parts_keep_their_order_and_text_alone_is_a_string(server: Server):
    clip = start().clip
    ask(server.policy(), [(start(), Message("user", ("a", clip.pick(0), "b", clip.pick(1))))])
    assert [part["type"] for part in server.bodies[0]["messages"][0]["content"]] == ["text", "image_url"] * 2
    ask(server.policy(), [(start(), Message("system", ("a", "b")))])
    assert server.bodies[1]["messages"] == [{"role": "system", "content": "ab"}]


def test_sampling_reaches_the_server(server: Server):
    one(server.policy(), temperature=0.7, top_p=0.9, max_new_tokens=33)
    body = server.bodies[0]
    assert {k: body[k] for k in ("model", "temperature", "top_p", "max_tokens")} == {
        "model": "m",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 33,
    }
    assert "top_k" not in body
    assert not body.get("stream")
    one(server.policy(), temperature=0.0, top_k=5)
    assert (server.bodies[1]["top_k"], server.bodies[1]["temperature"]) == (5, 0)


def test_extra_fields_win_and_null_drops(server: Server):
    extra = {"max_tokens": None, "max_completion_tokens": 9, "mm_processor_kwargs": {"fps": 2}, "temperature": 1}
    one(build("policy", f"openai:model=m,base_url={server.url},extra={json.dumps(extra)}"))
    body = server.bodies[0]
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["mm_processor_kwargs"], body["temperature"]) == (9, {"fps": 2}, 1)


def test_environment_and_key(server: Server, monkeypatch: pytest.MonkeyPatch):
    one(server.policy())
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    policy = build("policy", "openai:model=m")
    one(policy)
    one(server.policy(api_key="sk-given"))
    assert server.keys == ["Bearer EMPTY", "Bearer sk-env", "Bearer sk-given"]
    assert repr(policy) == f"OpenAIPolicy('m', base_url='{server.url}')"
    assert built("policy", "openai:model=m,base_url=http://me:secret@host/v1").base_url == "http://host/v1"


@pytest.mark.parametrize("text", ["猫が跳ぶ 🐈 é", 'quote " \\ \n \t \x00', "half of a pair \ud83d"])
def test_unicode(server: Server, text: str):
    server.answer = lambda body: "ответ 🐕 " + body["messages"][0]["content"]
    sent = text.encode("utf-8", "replace").decode()
    assert ask(server.policy(), [(start(), asking(text))]) == ["ответ 🐕 " + sent]


def test_half_of_a_pair_in_a_reply_can_be_sent_back(server: Server):
    server.answer = lambda body: (200, json.dumps(completion("cut \ud83d")).encode(), {})
    assert one(server.policy()) == "cut \ud83d"
    turn = Turn(asking("hi"), Reply("cut \ud83d"), Answer(), start().clip)
    before = Rollout(start().clip, Query("q", "x"), turns=(turn,))
    ask(server.policy(), [(before, asking("and?"))])
    assert server.bodies[1]["messages"][1]["content"] == "cut ?"


# what comes back


def test_order_is_kept_when_replies_overtake(server: Server):
    first = threading.Event()

    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][0]["content"]
        if text == "0":
            assert first.wait(20)
        if text == "5":
            first.set()
        return "re " + text

    server.answer = answer
    rows = [(start(), asking(str(i))) for i in range(6)]
    assert ask(server.policy(concurrency=2), rows) == [f"re {i}" for i in range(6)]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_concurrency_is_reached_and_not_exceeded(server: Server, concurrency: int):
    together = threading.Barrier(concurrency)

    def answer(body: dict[str, Any]) -> str:
        together.wait(20)  # returns only once that many requests are there
        time.sleep(0.1)  # one request too many would arrive now
        return "x"

    server.answer = answer
    ask(server.policy(concurrency=concurrency), [(start(), asking(str(i))) for i in range(3 * concurrency)])
    assert server.most == concurrency
    assert len(server.bodies) == 3 * concurrency


def test_a_group_differs_by_seed_and_greedy_rows_do_not(server: Server):
    same, prompt = start(), asking("hi")
    server.answer = lambda body: str(body["seed"])
    policy = server.policy()
    drawn = ask(policy, [(same, prompt)] * 8, temperature=1.0)
    assert len(set(drawn)) == 8
    assert all(0 <= int(seed) < 2**31 for seed in drawn)
    assert ask(policy, [(same, prompt)] * 8, temperature=1.0) == drawn
    assert ask(policy, [(start("other"), asking("hi")), (same, prompt)], temperature=1.0)[1] == drawn[0]
    assert ask(policy, [(same, prompt)], temperature=1.0, seed=1) != drawn[:1]
    assert len(set(ask(policy, [(same, prompt)] * 8))) == 1


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8), st.integers(0, 2**40))
def test_seeds_belong_to_content_and_place_among_equals(names: list[str], seed: int):
    starts, prompt = {name: start(name) for name in "abc"}, asking("hi")
    sampling = Sampling(temperature=1.0, seed=seed)

    def of(order: list[str]) -> dict[str, list[int]]:
        found = row_seeds([starts[n] for n in order], [prompt] * len(order), sampling)
        return {name: [s for s, n in zip(found, order, strict=True) if n == name] for name in "abc"}

    assert of(names) == of(sorted(names))
    assert len({s for found in of(names).values() for s in found}) == len(names)


def test_seeds_follow_earlier_replies():
    def after(reply: str) -> Rollout:
        return Rollout(start().clip, Query("q", "x"), turns=(Turn(asking("hi"), Reply(reply), Answer(), start().clip),))

    a, b = row_seeds([after("x"), after("y")], [asking("and?")] * 2, Sampling(temperature=1.0))
    assert a != b


@pytest.mark.parametrize("content", [None, ""])
def test_no_content_is_an_empty_reply(server: Server, content: str | None):
    server.answer = lambda body: (200, completion(content), {})
    assert one(server.policy()) == ""
    (rollout,) = converse([start()], server.policy(), InOrder(ROUNDS), sampling=Sampling())
    assert rollout.error is not None
    assert rollout.groundings == ()


def test_a_reply_cut_at_length_is_kept(server: Server):
    server.answer = lambda body: (200, completion("<think>so", "length"), {})
    assert one(server.policy()) == "<think>so"


def test_the_contract(server: Server):
    """Replies that depend on everything sent: texts, pictures, seed; valid, so that both rounds are held."""

    def answer(body: dict[str, Any]) -> str:
        asked = json.dumps([body["messages"], body["temperature"] and body["seed"]]).encode()
        numbers = hashlib.sha256(asked).digest()
        if len(body["messages"]) == 1:
            return KEYFRAME.replace("2", str(numbers[0] % 4)).replace("dog", f"dog {numbers[1]}")
        return BOX.replace("7", str(numbers[0] % 20))

    server.answer = answer
    check_policy(server.policy(concurrency=2), plan=ROUNDS)


# failures


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_tries_again(server: Server, status: int):
    server.answer = lambda body: failing(status, **SOON) if len(server.bodies) < 3 else "at last"
    assert one(server.policy(retries=2)) == "at last"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (400, InputError, "fits its context"),
        (401, InputError, "OPENAI_API_KEY"),
        (404, InputError, "model="),
        (418, InputError, "refuses"),
        (422, InputError, "refuses"),
        (429, PartError, "concurrency="),
        (500, PartError, "server's log"),
        (503, PartError, "server's log"),
    ],
)
def test_a_status_is_named(server: Server, status: int, kind: type[Exception], hint: str):
    server.answer = lambda body: failing(status, "something is off with it", **SOON)
    with pytest.raises(kind) as caught:
        one(server.policy(retries=1))
    message = str(caught.value)
    for part in (server.url, f"HTTP {status}", "something is off with it", "'m'", hint):
        assert part in message
    assert len(server.bodies) == (1 if kind is InputError else 2)


@pytest.mark.parametrize("content", [{"object": "error", "message": "too long"}, b"too long", {"detail": "too long"}])
def test_other_error_bodies(server: Server, content: Any):
    server.answer = lambda body: (400, content, {})
    with pytest.raises(InputError, match=r"HTTP 400: .*too long.*\. The server refuses"):
        one(server.policy())


# errors inside success


INSIDE = {
    "code": {"error": {"message": "busy", "code": 429}},
    "code as text": {"error": {"message": "busy", "code": "503"}},
    "a known word": {"error": {"message": "busy", "code": "rate_limit_exceeded"}},
    "no code": {"error": {"message": "busy"}},
    "an odd code": {"error": {"message": "busy", "code": 1302}},
    "a text": {"error": "busy"},
    "in the choice": {"choices": [{"error": {"code": 502, "message": "busy"}, "finish_reason": "error"}]},
    "the choice's end": completion("half a rep", "error"),
    "beside a choice": {**completion("half a rep"), "error": {"code": 500, "message": "busy"}},
    "the old form": {"object": "error", "message": "busy", "code": 500},
}


@pytest.mark.parametrize("body", INSIDE.values(), ids=INSIDE.keys())
def test_an_error_inside_http_200_is_tried_again(server: Server, body: Any):
    server.answer = lambda _: (200, body, SOON) if len(server.bodies) < 3 else "at last"
    assert one(server.policy(retries=2)) == "at last"
    assert len(server.bodies) == 3


def test_an_error_inside_http_200_is_named(server: Server):
    server.answer = lambda _: (200, {"error": {"message": "busy", "code": 429}}, SOON)
    with pytest.raises(PartError, match=r"an error inside HTTP 200, taken for HTTP 429: busy\. Lower concurrency="):
        one(server.policy(retries=1))
    assert len(server.bodies) == 2
    server.answer = lambda _: (200, {"error": {"message": "who are you", "code": 401}}, {})
    with pytest.raises(InputError, match=r"HTTP 401: who are you\. Set OPENAI_API_KEY"):
        one(server.policy(retries=1))
    assert len(server.bodies) == 3, "a refusal is not tried again"


def test_null_in_place_of_an_error_is_none(server: Server):
    server.answer = lambda _: (200, {**completion("fine"), "error": None}, {})
    assert one(server.policy()) == "fine"


# thinking, and why a reply ended


def said(message: dict[str, Any], reason: Any = "stop") -> tuple[int, dict[str, Any], dict[str, str]]:
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}, {}


ANSWER = KEYFRAME.partition("</think>")[2]
THOUGHT = {
    "apart": {"reasoning_content": "x", "content": ANSWER},
    "apart, by its other name": {"reasoning": "x", "content": ANSWER},
    "opened by the template": {"content": "x</think>" + ANSWER},
    "in both": {"reasoning_content": "x", "content": KEYFRAME},
    "apart with its end": {"reasoning_content": "x", "content": "</think>" + ANSWER},
    "null apart": {"reasoning_content": None, "reasoning": "", "content": KEYFRAME},
    "no text apart": {"reasoning_content": {"a": 1}, "content": KEYFRAME},
}


@pytest.mark.parametrize("message", THOUGHT.values(), ids=THOUGHT.keys())
def test_the_parser_sees_the_thinking(server: Server, message: dict[str, Any]):
    server.answer = lambda body: said(message) if len(body["messages"]) == 1 else BOX
    pairs = [(build("prompt", p), build("parser", q + ":strict=True")) for p, q in ROUNDS]
    (rollout,) = converse([start()], server.policy(), InOrder(pairs), sampling=Sampling())
    assert rollout.turns[0].reply.whole == KEYFRAME
    assert (rollout.error, rollout.form) == (None, 1.0)
    assert server.bodies[1]["messages"][1] == {"role": "assistant", "content": KEYFRAME}


def test_thinking_that_was_cut_off_stays_open(server: Server):
    server.answer = lambda _: said({"reasoning_content": "so long", "content": None}, "length")
    assert one(server.policy()) == "<think>so long"


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_a_cut_reply_says_so(server: Server, reason: str):
    server.answer = lambda _: said({"content": "<think>and then"}, reason)
    pairs = [(build("prompt", p), build("parser", q)) for p, q in ROUNDS]
    (rollout,) = converse([start()], server.policy(), InOrder(pairs), sampling=Sampling(max_new_tokens=77))
    (turn,) = rollout.turns
    assert turn.reply.cut_off
    assert rollout.error == "round 1: no_answer"
    assert "cut off at the limit of 77 tokens" in turn.answer.detail
    assert "--max-new-tokens" in turn.answer.detail


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls"])
def test_another_early_end_is_named(server: Server, reason: str):
    server.answer = lambda _: said({"content": None, "tool_calls": [{}]}, reason)
    pairs = [(build("prompt", p), build("parser", q)) for p, q in ROUNDS]
    (rollout,) = converse([start()], server.policy(), InOrder(pairs), sampling=Sampling())
    assert rollout.turns[0].answer.detail.endswith(f"the reply ended early: {reason}")


@pytest.mark.parametrize("reason", [None, 3, {"a": []}, ["stop"], float("inf"), "x" * 9999])
def test_odd_reasons_are_read(server: Server, reason: Any):
    server.answer = lambda _: said({"content": "hi"}, reason)
    assert one(server.policy()) == "hi"


def test_a_refusal_is_the_reply(server: Server):
    server.answer = lambda _: said({"content": None, "refusal": "I will not"})
    assert one(server.policy()) == "I will not"


# bodies that no honest server sends


def test_bytes_that_are_no_utf8_are_replaced(server: Server):
    body = json.dumps(completion("caf~")).encode().replace(b"~", b"\xe9")
    server.answer = lambda _: (200, body, {})
    assert one(server.policy()) == "caf\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"choices": ' + b"9" * 5000 + b"}",
        b'{"choices": null}',
        b'{"choices": [null]}',
        b'{"choices": {"0": {}}}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": {"text": "x"}}}]}',
        b"data: {}\n\ndata: [DONE]\n",
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/html", "nonsense", ""])
def test_odd_bodies_are_one_clear_error(server: Server, body: bytes, kind: str):
    server.answer = lambda _: (200, body, {"Content-Type": kind})
    with pytest.raises(PartError, match=r"expected a chat completion, got \S"):
        one(server.policy(retries=0))


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_reply_without_end_is_cut(server: Server, status: int):
    server.answer = lambda _: (status, completion("x" * 200_000), {})
    with pytest.raises(PartError, match=r"a reply of more than 100,000 bytes: raise max_bytes="):
        one(server.policy(retries=0, max_bytes=100_000))


def test_a_small_body_that_unpacks_to_a_large_one_is_cut(server: Server):
    packed = gzip.compress(json.dumps(completion("x" * 5_000_000)).encode())
    assert len(packed) < 100_000
    server.answer = lambda _: (200, packed, {"Content-Encoding": "gzip"})
    with pytest.raises(PartError, match="max_bytes="):
        one(server.policy(retries=0, max_bytes=100_000))
    server.answer = lambda _: (
        200,
        gzip.compress(json.dumps(completion("short")).encode()),
        {"Content-Encoding": "gzip"},
    )
    assert one(server.policy(retries=0, max_bytes=100_000)) == "short"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused(server: Server, status: int):
    server.answer = lambda _: (status, b"", {"Location": "http://127.0.0.2:9/v1?token=abc"})
    with pytest.raises(InputError, match=rf"HTTP {status}, a redirect to http://127.0.0.2:9/v1.*base_url="):
        one(server.policy())
    assert len(server.bodies) == 1


class Dripper(threading.Thread):
    """A server that sends one byte of `head` at a time, and never ends."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self.head, self.done = head, threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(20)
        self.start()

    def run(self) -> None:
        with self.socket, self.socket.accept()[0] as talk, contextlib.suppress(OSError):
            for byte in itertools.islice(itertools.chain(self.head, itertools.repeat(32)), 4000):
                talk.sendall(bytes([byte]))
                if self.done.wait(0.005):
                    return


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", b"HTTP/1.1 200 OK\r\na:"]
)
def test_a_server_that_drips_does_not_hold_the_run(server: Server, head: bytes):
    dripper = Dripper(head)
    url = f"http://127.0.0.1:{dripper.socket.getsockname()[1]}/v1"
    with pytest.raises(PartError, match=r"no whole reply within 0\.5 s.*deadline="):
        one(server.policy(base_url=url, deadline=0.5, timeout=5.0, retries=0))
    dripper.done.set()
    dripper.join(20)
    assert not dripper.is_alive()


# a server that is down


def test_gives_up_after_failures_in_a_row(server: Server):
    server.answer = lambda _: failing(500)
    policy = build("policy", {"name": "openai", "model": "m", "base_url": server.url, "retries": 0, "give_up": 3})
    for _ in range(2):
        with pytest.raises(PartError):
            one(policy)
    server.answer = lambda _: "fine"
    assert one(policy) == "fine", "and the count begins again"
    server.answer = lambda _: failing(500)
    for _ in range(2):
        with pytest.raises(PartError):
            one(policy)
    with pytest.raises(RunStopped, match=r"3 requests in a row failed, the last with: .*HTTP 500.*--retry"):
        one(policy)


def test_a_run_stops_and_keeps_its_rows(server: Server, tmp_path: Path):
    """Two samples are answered, then the server goes down: the run stops after three, and goes on when it is up."""
    up = threading.Event()
    up.set()

    def answer(body: dict[str, Any]) -> Any:
        if not up.is_set():
            return failing(503)
        if len(body["messages"]) > 1:
            return BOX
        if len(server.bodies) > 3:
            up.clear()
            return failing(503)
        return KEYFRAME

    server.answer = answer
    policy = {"name": "openai", "model": "m", "base_url": server.url, "retries": 0, "give_up": 3}
    model = revseg.ReVSeg(policy=policy, tracker="fill_box", plan=ROUNDS, num_frames=4)
    data, out = "shapes:size=8,split=test,frames=8,height=32,width=32", tmp_path / "r.jsonl"
    with pytest.raises(RunStopped, match="3 requests in a row"):
        revseg.evaluate(model, data, out, concurrency=1)
    rows = list(Results.open(out))
    assert [row.crashed for row in rows] == [False, False, True, True]
    assert len(server.bodies) == 7
    up.set()
    server.bodies.clear()
    server.answer = lambda body: KEYFRAME if len(body["messages"]) == 1 else BOX
    results = revseg.evaluate(model.replace(policy=dict(policy)), data, out, retry=True)
    assert (len(results), results.summary()["crashed"]) == (8, 0)


# keys and passwords


KEY, PASSWORD = "sk-very-secret-key", "pa55word-of-mine"


def secretive(server: Server) -> dict[str, Any]:
    """A spec with every kind of secret."""
    url = server.url.replace("//", f"//someone:{PASSWORD}@")
    return {"name": "openai", "model": "m", "base_url": url, "api_key": KEY, "retries": 0, "extra": {"api_key": KEY}}


def hides(text: str) -> bool:
    login = base64.b64encode(f"someone:{PASSWORD}".encode()).decode()
    return not any(secret in text for secret in (KEY, PASSWORD, login, "someone"))


@pytest.mark.parametrize("form", ["mapping", "text", "nested"])
def test_secrets_are_in_no_record_and_no_error(
    server: Server, form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    options = secretive(server)
    spec: Any = options
    if form == "text":
        spec = format_spec("openai", {k: v for k, v in options.items() if k != "name"})
    server.answer = lambda body: KEYFRAME if len(body["messages"]) == 1 else BOX
    model = revseg.ReVSeg(policy=spec, tracker="fill_box", plan=ROUNDS, num_frames=4, rewards={"format": 1})
    if form == "nested":
        wrapped = spec_of({"name": "wrapper", "policy": options, "others": [format_spec("openai", {"api_key": KEY})]})
        assert hides(json.dumps(wrapped))
        assert wrapped["policy"]["model"] == "m"
    data, out = "shapes:size=1,split=test,frames=8,height=32,width=32", tmp_path / "r.jsonl"
    results = revseg.evaluate(model, data, out)
    assert len(results) == 1
    assert not results.row(0).crashed
    assert server.keys[-1] is not None
    assert server.keys[-1].startswith("Basic ")
    result = model.segment(np.zeros((4, 32, 32, 3), np.uint8), "dog")
    result.save(tmp_path / "out", np.zeros((4, 32, 32, 3), np.uint8))
    server.answer = lambda _: failing(401, f"no: {server.keys[-1]} {KEY} {PASSWORD}")
    crashed = revseg.evaluate(model, data, tmp_path / "crashed.jsonl")
    assert crashed.row(0).crashed
    write_site(crashed, tmp_path / "site", results)
    written = [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
    texts = [*written, caplog.text, repr(model), repr(model.built_policy), json.dumps(model.to_dict()), repr(results)]
    assert all(map(hides, texts))
    again: Any = revseg.ReVSeg.from_dict(model.to_dict(), trust=True).built_policy
    assert again.base_url == server.url


def test_a_run_goes_on_with_another_key(server: Server, tmp_path: Path):
    server.answer = lambda body: KEYFRAME if len(body["messages"]) == 1 else BOX
    model = revseg.ReVSeg(policy=secretive(server), tracker="fill_box", plan=ROUNDS, num_frames=4)
    data, out = "shapes:size=2,split=test,frames=8,height=32,width=32", tmp_path / "r.jsonl"
    revseg.evaluate(model, data, out, limit=1)
    other = {**secretive(server), "api_key": "sk-another", "base_url": server.url}
    assert len(revseg.evaluate(model.replace(policy=other), data, out)) == 2
    with pytest.raises(InputError, match="another run"):
        revseg.evaluate(model.replace(policy={**other, "model": "n"}), data, out)


@pytest.mark.parametrize(
    "address",
    [
        "http://someone:pa55word-of-mine@host/v1",
        "http://someone:pa55word-of-mine@host/v1?key=sk-very-secret-key#sk-very-secret-key",
        "http://host/v1?key=sk-very-secret-key",
        "https://sk-very-secret-key@host/v1",
        "http://someone:pa55word-of-mine/x@host/v1",
        "someone:pa55word-of-mine@host/v1",
    ],
)
def test_addresses_are_recorded_without_their_secrets(address: str):
    for spec in ({"name": "openai", "model": "m", "base_url": address}, f"openai:model=m,base_url={address}"):
        record = revseg.ReVSeg(policy=spec, plan=ROUNDS).to_dict()["policy"]
        assert hides(json.dumps(record))
        assert "m" in json.dumps(record)
    try:
        told = repr(build("policy", {"name": "openai", "model": "m", "base_url": address}))
    except InputError as error:
        told = str(error)
    assert hides(told)


def test_a_login_leaves_any_parts_address():
    assert spec_of("mine:where=ftp://a:b@host/x,n=1") == "mine:where=ftp://host/x,n=1"
    assert spec_of({"name": "mine", "where": ["ftp://a:b@host/x"]}) == {"name": "mine", "where": ["ftp://host/x"]}
    assert spec_of("mine:where=a@b") == "mine:where=a@b"
    assert spec_of("mine:key=k") == "mine:key=k", "what is secret is declared, not guessed"


@pytest.mark.parametrize(
    "spec", [f"openai:model=m,{KEY}", f"openai:model=m,api_key={KEY},api_key={KEY}", {"api_key": KEY}]
)
def test_a_spec_that_cannot_be_read_is_not_shown_with_its_values(spec: Any):
    with pytest.raises(SpecError) as caught:
        build("policy", spec)
    assert hides(str(caught.value))


def test_the_key_from_a_variable_of_any_name(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_ROUTER_KEY", " sk-router\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    one(server.policy(api_key_env="MY_ROUTER_KEY"))
    assert server.keys == ["Bearer sk-router"]


@pytest.mark.parametrize("key", ["sk-very-secret-key\nx", "sk-very-secret-key\u2026"])
def test_a_key_that_cannot_be_sent(key: str):
    with pytest.raises(InputError, match="copy it again") as caught:
        build("policy", {"name": "openai", "model": "m", "api_key": key})
    assert hides(str(caught.value))


def test_a_server_that_repeats_the_key_in_its_reply(server: Server):
    server.answer = lambda _: f"you are {KEY}"
    assert one(server.policy(api_key=KEY)) == "you are ***"


def test_inside_a_running_loop(server: Server):
    async def notebook() -> str:
        return one(server.policy())

    assert asyncio.run(notebook()) == "hello"


def test_a_failure_stops_the_batch(server: Server):
    server.answer = lambda body: failing(400)
    with pytest.raises(InputError):
        ask(server.policy(concurrency=1), [(start(), asking(str(i))) for i in range(50)])
    assert len(server.bodies) < 50


def test_the_key_is_not_told(server: Server):
    server.answer = lambda body: failing(401, f"{server.keys[-1]} is wrong")
    policy = server.policy(api_key="sk-very-secret")
    with pytest.raises(InputError, match=r"Bearer \*\*\* is wrong") as caught:
        one(policy)
    printed = "".join(traceback.format_exception(caught.value))
    assert "HTTP 401" in printed
    assert "secret" not in f"{printed} {policy!r}"


def test_time_out(server: Server):
    done = threading.Event()
    server.answer = lambda body: (done.wait(20), "late")[1]
    with pytest.raises(PartError, match=r"no reply in 1 tries of 0\.1 s.*timeout="):
        one(server.policy(timeout=0.1, retries=0))
    done.set()


def test_a_connection_is_closed_before_the_server_does(server: Server, monkeypatch: pytest.MonkeyPatch):
    """A server drops connections idle for 0.2 s; a request on one of them would be lost, without any retry here."""
    monkeypatch.setattr("revseg.policies.openai.http.IDLE", 0.05)

    class Forgetful(Handler):
        last: float | None = None

        def do_POST(self) -> None:
            if self.last is not None and time.monotonic() - self.last > 0.2:
                self.close_connection = True
                return
            super().do_POST()
            self.last = time.monotonic()

    async def talk() -> list[str]:
        async with policy.connected(sampling=Sampling()) as reply_one:
            said = []
            for pause in (0, 0.3, 0, 0.3):
                await asyncio.sleep(pause)
                said.append((await reply_one(start(), asking("hi"))).text)
            return said

    with Listener(("127.0.0.1", 0), Forgetful) as http:
        http.talk = server
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        policy = built("policy", {"name": "openai", "model": "m", "base_url": url, "retries": 0})
        try:
            assert asyncio.run(talk()) == ["hello"] * 4
        finally:
            http.shutdown()
            thread.join()


def test_nobody_listens(server: Server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match=rf"{url}: no connection \(.*refused.*\).*base_url="):
        one(build("policy", {"name": "openai", "model": "m", "base_url": url, "retries": 0}))
    with pytest.raises(InputError, match=r"no connection.*base_url="):
        one(build("policy", {"name": "openai", "model": "m", "base_url": "localhost:1/v1", "retries": 0}))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({**completion("x"), "choices": []}, "application/json"),
        ({"error": {"message": "overloaded"}}, "application/json"),
        (completion([{"type": "text", "text": "x"}]), "application/json"),
        ({**completion("x"), "choices": [{"index": 0}]}, "application/json"),
        ([], "application/json"),
        (b"{", "application/json"),
        (b"<html>a proxy</html>", "text/html"),
    ],
)
def test_not_a_chat_completion(server: Server, content: Any, kind: str):
    server.answer = lambda body: (200, content, {"Content-Type": kind})
    with pytest.raises(PartError, match=rf"{server.url}: expected a chat completion, got \S"):
        one(server.policy(retries=0))


def test_long_complaints_are_cut(server: Server):
    server.answer = lambda body: failing(400, "x" * 5000)
    with pytest.raises(InputError) as caught:
        one(server.policy())
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"image_format": "gif"}, "jpeg or png"),
        ({"video": "mp4"}, "frames or video_url"),
        ({"video": "video_url", "image_format": "png"}, "JPEG frames"),
        ({"timeout": 0}, "timeout above 0"),
        ({"retries": -1}, "retries of 0"),
        ({"concurrency": 0}, "concurrency of 1"),
        ({"give_up": -1}, "give_up of 0"),
        ({"max_bytes": 0}, "max_bytes of 1"),
        ({"deadline": float("nan")}, "deadline above 0"),
        ({"extra": {"stream": True}}, "without messages and stream"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], expected: str):
    with pytest.raises(InputError, match=expected):
        build("policy", {"name": "openai", "model": "m", **options})


def test_registered():
    assert "openai" in revseg.names("policy")
    assert options_of(registry("policy").get("openai"))["concurrency"].default == 8
    with pytest.raises(SpecError, match="'openai' needs model"):
        build("policy", "openai")
