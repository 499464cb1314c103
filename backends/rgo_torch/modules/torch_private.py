"""The private names of PyTorch that are used here, each with why no public one does.

No other file of this package has any: a test looks. Another test asks of each function
here whether it still does what it says, and names the versions it was tried on.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils import _pytree

# Trees of tensors: no version has a public module for them.
pytree = _pytree

# Where wrappers keep what they wrap (torch.compile, activation checkpoints, FSDP), none
# of which has a public way back.
INNER = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")

# Public is the flag alone, which asks the same 8 times as slowly; older ones have none.
_get_precision = getattr(torch._C, "_get_fp32_precision_getter", None)

# Called when the backward pass that is going on has ended; no public hook is.
at_the_end: Callable[[Callable[[], None]], None] = (
    torch.autograd.Variable._execution_engine.queue_callback
)
# Whether torch.func is at work. Nothing public tells.
is_functional: Callable[[], bool] = torch._C._are_functorch_transforms_active
# Whether autocast is on for any device: the public function wants to know which, and to
# find a tensor's takes three times as long as the answer.
is_any_autocast: Callable[[], bool] = torch._C._is_any_autocast_enabled
# The number of the backward pass that is going on; nothing public tells them apart.
backward_pass: Callable[[], int] = torch._C._current_graph_task_id


def is_forward_mode() -> bool:
    """Whether forward-mode differentiation is at work. Nothing public tells."""
    return forward_ad._current_level >= 0


def rounding_of_products() -> str | None:
    """Return the format that oneDNN rounds to in matrix products; None: not told.

    Not to compiled autograd, which warns of a function that it cannot look into.
    """
    if _get_precision is None or torch.compiler.is_compiling():
        return None
    found: str = _get_precision("mkldnn", "matmul")
    return found


def own_parameters(module: nn.Module) -> Mapping[str, nn.Parameter | None]:
    """Return what are parameters of a module itself now, by name.

    Attributes tell of what a parametrization computes too, and `named_parameters` goes
    through all of them: both are too slow for every step.
    """
    return _plain(module._parameters)


def own_buffers(module: nn.Module) -> Mapping[str, Tensor | None]:
    """Return what are buffers of a module itself; a scripted one has none of its own.

    `named_buffers` does not tell the two apart.
    """
    return _plain(module.__dict__.get("_buffers", {}))


def stored_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Yield the buffers that a state dict has, with their modules and whole names.

    To ask for the state dict itself would cut up again what `fully_shard` has gathered.
    """
    for path, module in model.named_modules():
        left: Collection[str] = module.__dict__.get("_non_persistent_buffers_set", ())
        for name, buffer in module.named_buffers(path, recurse=False):
            if name.rpartition(".")[2] not in left:
                yield module, name, buffer


def _plain(found: Any) -> Mapping[str, Any]:
    """Return a mapping: a scripted module has a wrapper without a mapping's methods."""
    return found if isinstance(found, dict) else dict(found.items())


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written to. No public count is kept."""
    return tensor._version


def gradient_hooks(tensor: Tensor) -> tuple[Any, ...]:
    """Return the hooks on a tensor's gradient. Public is only how to add one."""
    return tuple((tensor._backward_hooks or {}).values())


def address_of(tensor: Tensor) -> int:
    """Return where autograd has a tensor, with the hooks that it calls.

    `torch.utils.swap_tensors` gives the one in Python another: hooks are listed as
    before, and not called. Nothing public tells, and a weak reference would forbid it.
    """
    found: int = tensor._cdata
    return found


def revive_gradient_hooks(tensor: Tensor) -> None:
    """Have the hooks called that a swapped tensor lists, and those that are to come.

    Where there is a list `register_hook` takes it for one that autograd has.
    """
    tensor._backward_hooks = tensor._backward_hooks


def step_hooks(optimizer: Any) -> tuple[Any, ...]:
    """Return the hooks before an optimizer's step. Public is only how to add one."""
    return tuple(getattr(optimizer, "_optimizer_step_pre_hooks", {}).values())


def has_step_hooks(optimizer: Any) -> bool:
    """Whether an optimizer calls hooks at its steps: its class may not, and say none.

    `Optimizer` marks a step that does as hooked.
    """
    is_hooked = getattr(type(optimizer).step, "hooked", False)
    return bool(is_hooked) and hasattr(optimizer, "_optimizer_step_post_hooks")


def steps_of(optimizer: Any) -> int:
    """Return how many steps of an optimizer are going on, one inside of another.

    Of those that call hooks. Nothing public tells, for no hook is called after a step
    that raised: what calls them is on the stack.
    """
    hooked = getattr(type(optimizer).step, "__code__", None)
    frame, found = inspect.currentframe(), 0
    while frame is not None:
        if frame.f_code is hooked and frame.f_locals.get("self") is optimizer:
            found += 1
        frame = frame.f_back
    return found


def forward_hooks(module: nn.Module) -> tuple[dict[int, Any], ...]:
    """Return the hooks before and after a module's forward, by their numbers.

    Public are only handles, which a copy of the module does not have.
    """
    return module._forward_hooks, module._forward_pre_hooks


def forget_hook_flags(module: nn.Module) -> None:
    """Forget how hooks that are gone were to be called. A handle would have."""
    for flags, hooks in (
        (module._forward_hooks_with_kwargs, module._forward_hooks),
        (module._forward_hooks_always_called, module._forward_hooks),
        (module._forward_pre_hooks_with_kwargs, module._forward_pre_hooks),
    ):
        for number in [number for number in flags if number not in hooks]:
            del flags[number]


def substituted_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Have a recurrent module compute with other tensors; with its own where none.

    A fused one takes them from a private list, a cell from its attributes. The list is
    made anew in the forward where parameters were replaced, as `torch.func` does.
    """
    if isinstance(module, nn.RNNBase):
        module._update_flat_weights()
        module._flat_weights = [
            weights[name] if name in weights else getattr(module, name)
            for name in module._flat_weights_names
        ]
        return
    for name in ("weight_ih", "weight_hh"):
        module.__dict__.pop(name, None)
    module.__dict__.update(weights)


def has_substituted_weights(module: nn.Module) -> bool:
    """Whether a recurrent module computes with other tensors than its own."""
    if isinstance(module, nn.RNNBase):
        names = module._flat_weights_names
        pairs = zip(names, module._flat_weights, strict=True)
        return any(getattr(module, name) is not weight for name, weight in pairs)
    return any(name in module.__dict__ for name in own_parameters(module))


def is_view(tensor: Tensor) -> bool:
    """Whether a tensor is a view of another. Nothing public tells."""
    return tensor._is_view()


def looked_up(node: Any) -> Tensor | None:
    """Return which rows of a table an operation looked up; None if it is no lookup."""
    ids: Tensor | None = getattr(node, "_saved_indices", None)
    return ids if node.name() == "EmbeddingBackward0" else None


def is_compiled_in_place(module: nn.Module) -> bool:
    """Whether `module.compile()` was called. Nothing public tells."""
    return module._compiled_call_impl is not None


def convolves_as(module: nn.Module, known: Any) -> bool:
    """Whether a convolution computes what that class does.

    Its `forward` calls a private method, which a subclass may have overridden.
    """
    kind: Any = type(module)
    return kind.forward is known.forward and kind._conv_forward is known._conv_forward


def casts_of(module: Any) -> tuple[torch.dtype | None, torch.dtype | None]:
    """Return what `fully_shard` casts a module's inputs and its output to, if anything.

    What it was told is public only to those who told it.
    """
    policy = module._get_fsdp_state()._mp_policy
    return policy.param_dtype if policy.cast_forward_inputs else None, (
        policy.output_dtype
    )


def is_flat_parameter(parameter: nn.Parameter) -> bool:
    """Whether FSDP made it of several; its class and its notes are private both."""
    return hasattr(parameter, "_fqns")


def packed_for_products(matrix: Tensor, rows: int) -> Tensor:
    """Return W in oneDNN's layout for ``X W^T`` with about so many rows X.

    The public `torch.utils.mkldnn` has the plain layout alone, copied at each product.
    """
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix, rows)
    return packed


def multiply_packed(rows: Tensor, packed: Tensor) -> Tensor:
    """Return ``X W^T`` for such a W."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(
        rows, packed, None, "none", [], ""
    )
    return product
