"""Optimizers, schedules and the step itself."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def muon_and_adamw(
    model: Any,
    *,
    muon_lr: float,
    adam_lr: float,
    weight_decay: float = 0.0,
    plain: "Iterable[torch.nn.Parameter]" = (),
    slow: "Iterable[torch.nn.Parameter]" = (),
    slow_rate: float = 1.0,
) -> list[Any]:
    """Torch's optimizers over one model: Muon on its hidden matrices, AdamW on everything else.

    Muon (K. Jordan et al. 2024) orthogonalises the momentum of weight matrices; on models of a few million parameters
    trained from scratch it needs a fraction of AdamW's steps. Embeddings, the output layer, norms, biases and the patch
    convolution are left to AdamW, as its authors advise, and so are the parameters in `plain`. The convolution, whose
    outputs are sums over a thousand pixels, learns at a tenth of the rate (muP, arXiv 2203.03466: inversely
    proportional to the number of inputs), and parameters in `slow` at `slow_rate` times theirs. An optimizer without
    parameters is left out.
    """
    import torch

    words, late = {id(p) for p in plain}, {id(p) for p in slow}
    if hasattr(model, "get_output_embeddings"):  # no protocol: peft forwards it by __getattr__, which isinstance misses
        words |= {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == 2 and id(p) not in words]
    wide = [p for p in trained if p.ndim > 2]
    rest = [p for p in trained if p.ndim < 2 or id(p) in words]

    def groups(parameters: "list[torch.nn.Parameter]", rate: float) -> list[dict[str, Any]]:
        parts = ((rate, False), (rate * slow_rate, True))
        some = [{"params": [p for p in parameters if (id(p) in late) == is_late], "lr": lr} for lr, is_late in parts]
        return [group for group in some if group["params"]]

    optimizers: list[Any] = []
    if matrices:
        optimizers.append(torch.optim.Muon(groups(matrices, muon_lr), lr=muon_lr, weight_decay=weight_decay))
    others = groups(rest, adam_lr) + groups(wide, 0.1 * adam_lr)
    if others:  # LoRA adapters are matrices, all of them
        optimizers.append(torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0))
    return optimizers


def make_optimizers(model: Any, name: str, lr: float, weight_decay: float = 0.0) -> list[Any]:
    """The optimizers of a run: "adamw" on all trained parameters, or "muon" with AdamW at 0.3 lr on the rest."""
    import torch

    if name == "muon":
        return muon_and_adamw(model, muon_lr=lr, adam_lr=0.3 * lr, weight_decay=weight_decay)
    trained = [p for p in model.parameters() if p.requires_grad]
    return [torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay)]


def scale_rates(optimizers: list[Any], factor: float) -> None:
    """Every group's learning rate to `factor` times what it was made with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
            group["lr"] = group["base_lr"] * factor


def warmup_then_decay(step: int, steps: int, warmup: int, *, decay: bool = True, floor: float = 0.02) -> float:
    """The factor on the learning rate at `step` of `steps`: linear warm-up, then constant or linear to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    return max(floor, 1.0 - (step - warmup) / max(steps - warmup, 1)) if decay else 1.0


def warmup_then_root(step: int, steps: int, warmup: int, *, floor: float = 0.02) -> float:
    """Linear warm-up, then the product of inverse-square-root and linear decay.

    A model trained from scratch profits from high rates for a few hundred steps only; after that their noise drowns
    what it has to learn.
    """
    line = warmup_then_decay(step, steps, warmup, floor=0.0)
    return line if step < warmup else max(floor, math.sqrt(max(warmup, 1) / max(step, 1)) * line)


def sum_over_processes(parameters: "Sequence[torch.nn.Parameter]", accelerator: Any) -> None:
    """Sum gradients over processes, those of unused parameters too, because every process has to take part."""
    import torch

    for parameter in parameters:
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = accelerator.reduce(grad, "sum")


def descend(optimizers: Sequence[Any], parameters: "Sequence[torch.nn.Parameter]", clip: float) -> float:
    """One optimizer step on the clipped gradients; returns their norm. A step whose norm is not finite is left out."""
    import torch

    norm = torch.nn.utils.clip_grad_norm_(parameters, clip).item()
    for optimizer in optimizers:
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm
