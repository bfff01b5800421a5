"""`evaluate` with a served policy against what the server alone needs: 64 samples, 8 requests at a time, 0.5 s a reply.

    python benchmarks/speed/served_evaluation.py --out benchmarks/results/speed/served_evaluation.json

The server runs in a process of its own, takes 8 requests at a time as a busy GPU would, and answers each after 0.5 s
without looking at the pictures. Two rounds for 64 samples therefore take it 2 x 64 x 0.5 / 8 = 8.0 s. The prompts are
the paper's: 16 frames at 448 pixels, then the keyframe at 840. Wall time depends on what else the machine does, so the
client's CPU time is measured too: on a machine with C cores, the client keeps up with the server only while a
conversation costs it less than C x 8.0 x 1.2 / 64 s.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import measure

import revseg
from revseg.evaluation import Results, evaluate

SLACK = 1.2  # times what the server alone needs
PROMPTS = {"paper": None, "terse": [("keyframe_terse", "keyframe_json"), ("box_terse", "box_json")]}
KEYFRAME = '<think>x</think><answer>[{"frame_idx": 2, "object description": "the red circle"}]</answer>'
BOX = '[{"bbox_2d": [7, 14, 61, 48], "label": "circle"}]'


def serve(ready: Connection, seconds: float, slots: int) -> None:
    """A server of `slots` replies at a time, each after `seconds`; sends its port, then what it counted at the end."""
    counted = {"requests": 0, "bytes": 0, "most": 0, "open": 0}

    async def main() -> None:
        room = asyncio.Semaphore(slots)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                    counted["requests"] += 1
                    counted["bytes"] += len(body)
                    counted["open"] += 1
                    counted["most"] = max(counted["most"], counted["open"])
                    async with room:
                        await asyncio.sleep(seconds)
                    counted["open"] -= 1
                    writer.write(_reply(BOX if b'"role":"assistant"' in body else KEYFRAME))
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=2**24)
        ready.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(ready.recv)
        ready.send({**counted, "cpu_s": time.process_time()})
        os._exit(0)

    asyncio.run(main())


def _reply(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    data = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    body = json.dumps(data).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextlib.contextmanager
def server(seconds: float, slots: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its address, and what it counted, once the block is over."""
    counted: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=serve, args=(its, seconds, slots), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1", counted
        ours.send("end")
        counted |= ours.recv()
    finally:
        process.terminate()
        process.join()


def run(prompts: str, samples: int, seconds: float, slots: int, folder: Path, dataset: str) -> dict[str, Any]:
    """One evaluation: its wall and CPU time, of the client alone."""
    with server(seconds, slots) as (url, counted):
        policy = {"name": "openai", "model": "m", "base_url": url, "api_key": "none"}
        model = revseg.ReVSeg(policy=policy, tracker="fill_box", plan=PROMPTS[prompts])
        warm = evaluate(model, dataset.format(2), folder / "warm.jsonl", concurrency=2, progress=False, resume=False)
        assert warm.summary()["crashed"] == 0
        wall, cpu = time.perf_counter(), time.process_time()
        out = folder / f"{prompts}.jsonl"
        results = evaluate(model, dataset.format(samples), out, concurrency=slots, progress=False, resume=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert counted["requests"] == 2 * (samples + 2)
    return {"wall": wall, "cpu": cpu, "results": results, **counted}


def compare(prompts: str, samples: int, seconds: float, slots: int, turns: int, dataset: str) -> dict[str, Any]:
    """A row of the record."""
    alone, cores = 2 * samples * seconds / slots, len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(prompts, samples, seconds, slots, Path(folder), dataset) for _ in range(turns)]
        rows = [row.data for row in Results.open(runs[-1]["results"].path)]
    assert [row["status"] for row in rows] == ["found"] * samples, "a conversation did not end well"
    return {
        "what": f"evaluating {samples} samples, {slots} at a time, {seconds:g} s a reply, {prompts} prompts",
        "server_alone_s": alone,
        "wall_s": measure.spread([run["wall"] for run in runs]),
        "over_server": measure.spread([run["wall"] / alone for run in runs]),
        "cpu_a_conversation_s": measure.spread([run["cpu"] / samples for run in runs]),
        "cpu_allowed_s": cores * SLACK * alone / samples,
        "most_open": max(run["most"] for run in runs),
        "sent_mb_a_conversation": runs[-1]["bytes"] / (samples + 2) / 1e6,
        "server_cpu_s": measure.spread([run["cpu_s"] for run in runs]),
        "timings_s": {name: sum(row["timings"][name] for row in rows) for name in rows[0]["timings"]},
    }


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--prompts", nargs="+", choices=PROMPTS, default=list(PROMPTS))
    parser.add_argument("--dataset", default="shapes:size={},split=test", help="a spec with {} for the samples")
    given = parser.parse_args()
    samples, seconds, turns = (4, 0.05, 1) if given.small else (64, 0.5, given.turns)
    found = [compare(name, samples, seconds, 2 if given.small else 8, turns, given.dataset) for name in given.prompts]
    measure.report(found, given.out)


if __name__ == "__main__":
    main()
