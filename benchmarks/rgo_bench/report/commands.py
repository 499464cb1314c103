"""The commands that make the runs again."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.records import Record, variant_options
from rgo_bench.records.groups import Run
from rgo_bench.report.html import fill
from rgo_bench.runs.spec import Spec, make_spec, option_text, protocol_options
from rgo_bench.streams import STREAMS

# What is no option of stream or method, and so has an argument of its own.
_ARGUMENTS = ("network", "data", "backend")


def run_command(run: Run, records: Sequence[Record]) -> str:
    """Return the command that makes a run's own records.

    It sets every option that the variant names, and those that its name alone would not
    give today, so that it holds when defaults change. A folder of data is named as it
    was, wherever it is now.

    Examples
    --------
    >>> run_command(Run("permuted-digits", "sgd", "", "mlp", "torch"), [])
    'rgo-bench run permuted-digits --method sgd'
    """
    config = records[0].config if records else {}
    return shlex.join(_words(run, [record.seed for record in records], config))


def spec_command(spec: Spec, *more: str) -> str:
    """Return the command that makes one run, with more arguments at its end."""
    run = Run(spec.stream, spec.method, spec.variant, spec.network, "torch")
    return shlex.join([*_words(run, [spec.seed], spec.config), *more])


def _words(run: Run, seeds: Sequence[int], config: Mapping[str, Any]) -> list[str]:
    words = ["rgo-bench", "run", run.stream, "--method", run.method]
    if seeds:
        words += ["--seeds", seeds_text(seeds)]
    named = variant_options(run.variant)
    if "data" in named:  # the folder's name, without the fingerprint of what is in it
        named["data"] = named["data"].rpartition("-")[0] or named["data"]
    for name in _ARGUMENTS:
        if name in named:
            words += [f"--{name}", named.pop(name)]
    for name, text in _settings(run, config, named).items():
        words += ["--set", f"{name}={text}"]
    return words


def seeds_text(seeds: Iterable[int]) -> str:
    """Return seeds as the command line takes them.

    Examples
    --------
    >>> seeds_text([4, 0, 1, 2, 7])
    '0-2,4,7'
    """
    runs = groupby(enumerate(sorted(set(seeds))), key=lambda pair: pair[1] - pair[0])
    spans = ([seed for _, seed in run] for _, run in runs)
    return ",".join(
        str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans
    )


def command_list(groups: Mapping[Run, Sequence[Record]]) -> Markup:
    """Return the command of every run, those of a stream beside each other."""
    streams = groupby(groups.items(), key=lambda item: item[0].stream)
    return fill("commands", [(s, [run_command(*i) for i in own]) for s, own in streams])


def _settings(
    run: Run, config: Mapping[str, Any], named: Mapping[str, str]
) -> dict[str, str]:
    settings = dict(named)
    today: dict[str, Any] = {}
    if run.stream in STREAMS and run.method in METHODS and run.network in NETWORKS:
        known = config.keys() & protocol_options(run.stream, run.method).keys()
        given = {name: config[name] for name in named if name in known}
        today = make_spec(run.stream, run.method, 0, given, network=run.network).config
    for name, value in config.items():
        if name in named or (name in today and value != today[name]):
            settings[name] = option_text(value)
    return dict(sorted(settings.items()))
