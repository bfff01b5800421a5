"""Peak memory of log-probs and their gradients at Qwen's vocabulary of 151,936: in chunks, against the full logits.

    python benchmarks/speed/vocabulary.py --out benchmarks/results/speed/vocabulary.json

The full logits are those of the sampled tokens alone, not of the whole conversation: the strictest baseline. Each is
measured in a process of its own, above what the process held before; both include the head's gradient.
"""

from typing import Any

import measure

WAYS = ("ours", "baseline")
TEMPERATURE = 0.9


def head_and_states(tokens: int, vocabulary: int, hidden: int) -> tuple[Any, Any, Any]:
    import torch

    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(hidden, vocabulary, bias=False)
    with torch.no_grad():
        head.weight.normal_(0, 0.3, generator=draw)
    states = torch.randn(tokens, hidden, generator=draw).requires_grad_()
    return head, states, torch.randint(8, vocabulary, (tokens,), generator=draw)


def scores(way: str, head: Any, states: Any, ids: Any) -> Any:
    from revseg.policies.hf.chunked_logprobs import vocabulary_logprobs

    if way == "ours":
        return vocabulary_logprobs(head, states, ids, suppressed=[3, 5], temperature=TEMPERATURE)
    logits = head(states)
    logits[:, [3, 5]] = float("-inf")
    return (logits / TEMPERATURE).log_softmax(-1).gather(-1, ids[:, None])[:, 0]


def step(way: str, head: Any, states: Any, ids: Any) -> tuple[Any, ...]:
    """Log-probs and the gradients of head and states, of a loss in which every token weighs differently."""
    import torch

    found = scores(way, head, states, ids)
    weights = torch.linspace(-1, 1, len(ids))
    return (found.detach(), *torch.autograd.grad((found * weights).sum(), [head.weight, states]))


def child(way: str, sizes: tuple[int, int, int]) -> None:
    import json

    things = head_and_states(*sizes)
    step(way, things[0], things[1][:2], things[2][:2])  # what is loaded at the first call is not counted
    before, _ = measure.memory()
    measure.forget_peak()
    step(way, *things)
    print(json.dumps({"peak": measure.memory()[1] - before}))


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--tokens", type=int, default=1024, help="sampled tokens of a micro-batch")
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="measure this one's memory and print it")
    given = parser.parse_args()
    tokens, vocabulary, turns = (160, 2000, 1) if given.small else (given.tokens, given.vocabulary, given.turns)
    sizes = (tokens, vocabulary, given.hidden)
    if given.way:
        child(given.way, sizes)
        return
    asked = ("--tokens", str(tokens), "--vocabulary", str(vocabulary), "--hidden", str(given.hidden))
    peaks = {way: measure.run_child(*asked, "--way", way)["peak"] for way in WAYS}
    some = (min(tokens, 256), vocabulary, given.hidden)  # equality and time of a part: the whole may not fit twice
    things = head_and_states(*some)
    gaps = [float((a - b).abs().max()) for a, b in zip(*(step(way, *things) for way in WAYS), strict=True)]
    times = measure.take_turns(lambda: step("ours", *things), lambda: step("baseline", *things), turns=turns)
    row = {
        "what": f"peak memory of log-probs and gradients of {tokens} tokens, vocabulary {vocabulary}",
        "ours_bytes": peaks["ours"],
        "baseline_bytes": peaks["baseline"],
        "share": peaks["ours"] / max(1, peaks["baseline"]),
        "target": 0.1,
        "largest_difference": max(gaps),
        "equal": max(gaps) <= 1e-4,
        f"times_of_{some[0]}_tokens": times,
    }
    measure.report([row], given.out)


if __name__ == "__main__":
    main()
