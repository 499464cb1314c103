"""Parameters with a hook on their gradients, and whether it is still called."""

from collections.abc import Mapping

from rgo_torch.modules.torch_private import (
    address_of,
    gradient_hooks,
    revive_gradient_hooks,
)
from rgo_torch.parameters.parameter import ProjectedParameter


class Hooked:
    """Parameters that have a hook on their gradients now.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter
    """

    def __init__(self, parameters: Mapping[str, ProjectedParameter]) -> None:
        self._tensors = {name: each.tensor for name, each in parameters.items()}
        self._hooks = {n: gradient_hooks(t)[-1] for n, t in self._tensors.items()}
        self._addresses = {n: address_of(t) for n, t in self._tensors.items()}

    def check(self) -> None:
        """Check that backward passes still call the hooks.

        Raises
        ------
        RuntimeError
            If one does not: tensors were swapped, or hooks removed.
        """
        for name, tensor in self._tensors.items():
            is_listed = self._hooks[name] in gradient_hooks(tensor)
            if not is_listed or self._is_swapped(name):
                raise RuntimeError(
                    f"{name}: the hook that projects its gradient is gone, as where "
                    "tensors were swapped (torch.__future__."
                    "set_swap_module_params_on_conversion); detach() RGO, attach a new "
                    "one, and load this one's state into it"
                )

    def release(self) -> None:
        """Watch no more, and leave parameters that take hooks again."""
        for name, tensor in self._tensors.items():
            if self._is_swapped(name):
                revive_gradient_hooks(tensor)
        self._tensors.clear()
        self._hooks.clear()

    def _is_swapped(self, name: str) -> bool:
        return address_of(self._tensors[name]) != self._addresses[name]
