"""A key-value cache with spare room at its end.

transformers' own cache copies all keys into a new tensor for every token drawn. For a clip of thousands of tokens this
copy takes most of the decoding time. Here new keys are written behind the old ones, and the tensor grows by `ROOM`
tokens at a time.
"""

import functools
import inspect
from typing import TYPE_CHECKING, Any

from revseg.policies.hf.inputs import base_model

if TYPE_CHECKING:
    import torch

ROOM = 128  # tokens


def roomy_cache() -> Any:
    """A cache used like `DynamicCache`, for forwards without gradients (it writes in place)."""
    from transformers.cache_utils import Cache

    return Cache(layer_class_to_replicate=_layer())


def new_cache(policy: Any) -> Any:
    """An empty cache of the kind that the policy's model needs, for forwards without gradients."""
    from transformers import DynamicCache

    if policy.codec.cache == "full":
        return roomy_cache()
    return DynamicCache(config=base_model(policy.model).config.get_text_config())  # it knows which layers keep a state


def cache_option(model: Any, cache: Any) -> dict[str, Any]:
    """The cache as a keyword argument of this model's forward: transformers 5.24 renamed the argument."""
    return {_cache_name(type(model)): cache}


@functools.cache
def _cache_name(kind: type) -> str:
    return "cache" if "cache" in inspect.signature(kind.forward).parameters else "past_key_values"


@functools.cache
def _layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        rooms: Any = (None, None)

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            self.keys, keys = append(self.keys, self.rooms[0], key_states)
            self.values, values = append(self.values, self.rooms[1], value_states)
            self.rooms = (keys, values)
            return self.keys, self.values

    return RoomyLayer


def append(held: Any, room: Any, new: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """[b heads s d] with `new` behind `held`, and the larger tensor [b heads >=s d] of which it is the beginning.

    `room` is that larger tensor from the last call. When it is full, or when `held` no longer lies in it (rows were
    selected), everything is copied into a new one.
    """
    before = held.shape[-2] if held.numel() else 0
    after = before + new.shape[-2]
    in_room = before and room is not None and held.data_ptr() == room.data_ptr() and len(held) == len(room)
    if room is None or not in_room or after > room.shape[-2]:
        room = new.new_empty((*new.shape[:2], after + ROOM, new.shape[-1]))
        if before:
            room[:, :, :before] = held
    room[:, :, before:after] = new
    return room[:, :, :after], room
