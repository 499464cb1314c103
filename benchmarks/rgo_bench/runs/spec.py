"""What is to be run: names, seed and options, checked before anything starts."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from rgo_bench.methods import METHODS, MethodOptions
from rgo_bench.networks import NETWORKS
from rgo_bench.records import variant_name
from rgo_bench.streams import STREAMS, StreamOptions

BACKENDS: Final = ("torch", "jax")  # the first is the default
SEEDS: Final = range(2**32)  # what every generator takes


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run: a method learns a stream with a network, from one seed."""

    stream: str
    method: str
    seed: int
    network: str
    stream_options: StreamOptions
    method_options: MethodOptions
    data: Path | None = None  # the folder of the stream's data; looked for where None
    backend: str = BACKENDS[0]

    @property
    def config(self) -> dict[str, Any]:
        """Every option of stream and method, and what else decides the numbers."""
        return self._stated(self.resolved)

    @property
    def resolved(self) -> MethodOptions:
        """The method's options with nothing left to it."""
        samples = self.stream_options.samples
        return self.method_options.resolved(self.network, samples)

    @property
    def variant(self) -> str:
        """The options given that are not the protocol's, which ask for the same run."""
        given = self._stated(self.method_options)
        return variant_name(given, protocol_options(self.stream, self.method))

    def _stated(self, method_options: MethodOptions) -> dict[str, Any]:
        named = {} if self._data_name is None else {"data": self._data_name}
        if self.network != STREAMS[self.stream].network:
            named["network"] = self.network
        if self.backend != BACKENDS[0]:
            named["backend"] = self.backend
        return self.stream_options.as_dict() | method_options.as_dict() | named

    @cached_property
    def _data_name(self) -> str | None:
        if self.data is None:
            return None
        fingerprint = STREAMS[self.stream].source.fingerprint(self.data)
        return f"{self.data.resolve().name}-{fingerprint}"


def make_spec(
    stream: str,
    method: str,
    seed: int,
    options: Mapping[str, Any] | None = None,
    *,
    network: str | None = None,
    data: Path | None = None,
    backend: str = BACKENDS[0],
) -> Spec:
    """Check names, options and their types, and return what they ask for.

    Options of the stream or of the method stand in place of the protocol's; ``preset``
    names several of the method's (`MethodEntry.presets`), and those given beside it
    come before. The network is the stream's own by default. The name and the content of
    a folder of data become part of the variant: another image set is another
    experiment. Seeds are below 2**32.

    Examples
    --------
    >>> make_spec("permuted-digits", "rgo", 0, {"per": "batch", "tasks": 3}).variant
    'per=batch,tasks=3'
    >>> make_spec("permuted-digits", "rgo", 0, {"preset": "paper"}).variant
    'biases=normalized,damping=0.01,per=batch,permutations=shared,softmax=present'
    """
    check_name("stream", stream, STREAMS)
    check_name("method", method, METHODS)
    network = network or STREAMS[stream].network
    check_name("network", network, NETWORKS)
    check_name("backend", backend, dict.fromkeys(BACKENDS))
    if type(seed) is not int or seed not in SEEDS:
        raise ValueError(
            f"seed: expected an integer from 0 to {SEEDS[-1]}, got {seed!r}"
        )
    chosen = _checked_options(stream, method, options or {})
    of_stream, of_method = _with_protocol(stream, method, chosen)
    return Spec(
        stream=stream,
        method=method,
        seed=seed,
        network=network,
        stream_options=of_stream,
        method_options=of_method,
        data=None if data is None else data.expanduser(),
        backend=backend,
    )


def protocol_options(stream: str, method: str) -> dict[str, Any]:
    """Return every option of a stream and a method, as it is unless told otherwise.

    Defaults, in whose place stand those that the stream has for the method; None also
    where the method chooses.
    """
    of_stream, of_method = _with_protocol(stream, method, {})
    return of_stream.as_dict() | of_method.as_dict()


def parse_options(settings: Iterable[str]) -> dict[str, Any]:
    """Read options of the command line, ``key=value`` each.

    Examples
    --------
    >>> parse_options(["per=batch", "tasks=6", "encode=false"])
    {'per': 'batch', 'tasks': 6, 'encode': False}
    """
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not key or not equals:
            raise ValueError(f"--set: expected KEY=VALUE, got {setting!r}")
        try:
            options[key] = json.loads(text)
        except json.JSONDecodeError:
            options[key] = text
    return options


def option_text(value: Any) -> str:
    """Return an option's value as `parse_options` reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def _with_protocol(
    stream: str, method: str, chosen: Mapping[str, Any]
) -> tuple[StreamOptions, MethodOptions]:
    known = STREAMS[stream]
    options = {**known.protocol.get(method, {}), **chosen}
    return _with(options, known.defaults), _with(options, METHODS[method].defaults)


def _with(options: Mapping[str, Any], defaults: Any) -> Any:
    """Put options in the place of those defaults that there are."""
    own = {name: given for name, given in options.items() if hasattr(defaults, name)}
    return replace(defaults, **own)


def _checked_options(
    stream: str, method: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Write out a preset, and return options of the types that they have."""
    chosen = _with_preset(method, options)
    # Their own defaults, not the protocol's: None stays a choice where it is one.
    known = STREAMS[stream].defaults.as_dict() | METHODS[method].defaults.as_dict()
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise ValueError(
            f"option of {stream} with {method}: expected one of "
            f"{', '.join(sorted(known))}, got {', '.join(unknown)}"
        )
    return {name: _like(name, value, known[name]) for name, value in chosen.items()}


def _with_preset(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write out the options that a preset stands for."""
    chosen = dict(options)
    name = chosen.pop("preset", None)
    if name is None:
        return chosen
    presets = METHODS[method].presets
    if name not in presets:
        known = ", ".join(presets) or "none"
        raise ValueError(f"preset of {method}: expected {known}, got {name!r}")
    return {**presets[name], **chosen}


def check_name(kind: str, name: str, known: Mapping[str, object]) -> None:
    """Raise unless a name is one of those known; `kind` tells of what."""
    if name not in known:
        own = "; one of your own needs run --plugin" if kind == "method" else ""
        raise ValueError(
            f"{kind}: expected one of {', '.join(known)}, got {name!r}{own}"
        )


def _like(name: str, value: Any, default: Any) -> Any:
    """Return a value of the default's type, whole numbers serving as real ones."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise ValueError(
            f"option {name!r}: expected {type(default).__name__} as in "
            f"{option_text(default)}, got {value!r}"
        )
    return value
