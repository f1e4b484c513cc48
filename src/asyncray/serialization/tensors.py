"""How torch tensors in main memory are pickled: as buffers, where torch would write a file of its own into the pickle.

torch has no tensors that cannot be written to. So a large one lies on a private mapping of the block in shared memory:
the pages are the block's until somebody writes to them, and the writer's own from then on.
"""

from __future__ import annotations

from typing import Any

import torch

from asyncray.serialization import memory


def reducers() -> dict[type, Any]:
    return {torch.Tensor: _reduce}


def _reduce(tensor: Any) -> Any:
    if not _is_plain(tensor):
        return tensor.__reduce_ex__(5)
    values = tensor.detach()
    # Memory without gaps keeps its layout, a transposed matrix or "channels last"; any other is put in order.
    by_stride = sorted(range(values.dim()), key=values.stride, reverse=True)
    if not values.permute(by_stride).is_contiguous():
        values = values.contiguous()
    data = memory.over(values.data_ptr(), values.nbytes, keepalive=values)
    return _restore, (data, values.dtype, tuple(values.shape), values.stride(), tensor.requires_grad)


def _is_plain(tensor: Any) -> bool:
    """Whether the tensor is nothing but numbers in main memory."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not tensor._backward_hooks
        and not vars(tensor)
        and 0 < tensor.nbytes <= tensor.untyped_storage().nbytes()
    )


def _restore(data: Any, kind: Any, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool) -> Any:
    tensor = torch.frombuffer(memory.of_own(data), dtype=kind).as_strided(shape, stride)
    return tensor.requires_grad_() if requires_grad else tensor
