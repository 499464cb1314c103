"""The name of a variant: the options in which a run differs from the defaults."""

from collections.abc import Mapping
from urllib.parse import quote, unquote


def variant_name(options: Mapping[str, object], defaults: Mapping[str, object]) -> str:
    """Return the options that differ from their defaults, as the name of a folder.

    It is ``"key=value,key=value"`` in the order of the keys, with ``%`` and two
    hexadecimal digits for characters that a file name may not hold; empty when all
    options are at their defaults. An option without a default differs.
    """
    changed = {
        key: value
        for key, value in options.items()
        if key not in defaults or value != defaults[key]
    }
    return ",".join(
        f"{quote(key, safe='')}={quote(_text(changed[key]), safe='')}"
        for key in sorted(changed)
    )


def differing_options(
    one: Mapping[str, object], other: Mapping[str, object]
) -> list[str]:
    """Return the keys in which two configurations differ, sorted.

    An option that one does not state is None, or no option: so that a record from
    before a method had it still stands for the method without it.
    """
    keys = sorted({*one, *other})
    return [key for key in keys if one.get(key) != other.get(key)]


def variant_options(variant: str) -> dict[str, str]:
    """Return the options that a name by `variant_name` states, values as text."""
    options = {}
    for part in variant.split(",") if variant else []:
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise ValueError(
                f"variant: expected key=value,key=value or nothing, got {variant!r}"
            )
        options[unquote(key)] = unquote(value)
    return options


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    if isinstance(value, list | tuple):
        return "x".join(map(_text, value))
    return str(value)
