"""What tensors hold while they live, as torch dispatches the operations that make them."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Memory(TorchDispatchMode):
    """Numbers of elements of the largest tensor made, and the most bytes that made tensors held at once."""

    def __init__(self):
        super().__init__()
        self.largest, self.live, self.most, self.seen = 0, 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {
            one.untyped_storage()._cdata
            for one in tree_leaves((args, kwargs))
            if isinstance(one, torch.Tensor)
        }
        for one in tree_leaves(out):
            if isinstance(one, torch.Tensor) and one.untyped_storage()._cdata not in given:
                self._made(one)
        return out

    def _made(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata in self.seen:
            return
        size = storage.nbytes()
        self.largest = max(self.largest, size // tensor.element_size())
        self.live += size
        self.most = max(self.most, self.live)
        self.seen[storage._cdata] = weakref.finalize(storage, self._gone, storage._cdata, size)

    def _gone(self, key, size):
        self.live -= size
        self.seen.pop(key, None)
