"""What holds a parameter or an encoding: one projector, one encoder.

Hooks tell most of it. Where updates are projected they are on an optimizer, and another
may step the same parameters; and none is where a model says itself what to encode.

What holds something is known by weak references: once it is gone, it holds nothing.
What is held is known by identity: a copy is free, and a tensor with weak references
could not be swapped, as `torch.nn.Module.to` swaps some.
"""

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from rgo_torch.modules.hooks import already_attached

# Each keeps what it holds alive, so that no identity here is another's.
_held: WeakKeyDictionary[object, frozenset[int]] = WeakKeyDictionary()


def check_free(name: str, *things: object) -> None:
    """Raise ValueError where one of some things of that name is held."""
    wanted = set(map(id, things))
    if any(wanted & held for held in _held.values()):
        raise already_attached(name)


def claim(owner: object, things: Iterable[object]) -> None:
    """Note that these are held, until it is released or the owner is gone."""
    _held[owner] = frozenset(map(id, things))


def release(owner: object) -> None:
    """Note that nothing is held by this any more."""
    _held.pop(owner, None)
