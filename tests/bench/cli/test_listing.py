from bench.command_line import invoke

from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.spec import option_text
from rgo_bench.streams import STREAMS


def test_list_names_the_options_that_a_stream_sets_for_a_method() -> None:
    output = " ".join(invoke("list").output.split())
    for stream, entry in STREAMS.items():
        for method, options in entry.protocol.items():
            listed = " ".join(f"{k}={option_text(options[k])}" for k in options)
            assert f"{stream} {method} {listed}" in output


def test_list_tells_what_a_preset_stands_for() -> None:
    output = " ".join(invoke("list").output.split())
    paper = "damping=0.01 per=batch biases=normalized softmax=present"
    assert f"rgo paper {paper} permutations=shared" in output
    assert f"rgo-2 paper {paper}" in output


def test_list_names_every_stream_method_and_network_and_their_options() -> None:
    output = invoke("list").output
    words = output.split()
    assert {*STREAMS, *METHODS, *NETWORKS} <= set(words)
    for entry in (*STREAMS.values(), *METHODS.values()):
        for name, value in entry.defaults.as_dict().items():
            names = entry.defaults.choices.get(name, ())
            values = [value, *(each for each in names if each != value)]
            listed = [*map(option_text, values)]
            listed += ["N"] if name in entry.defaults.numbered else []
            assert f"{name}={'|'.join(listed)}" in words
    assert "angles=drawn|fixed" in words
    assert "observed=null|enough|N" in words
