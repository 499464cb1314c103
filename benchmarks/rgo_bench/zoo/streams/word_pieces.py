"""The snippets of Python's modules in the word pieces of a pretrained model."""

from rgo_bench.zoo.models.hugging_face import minilm_pieces
from rgo_bench.zoo.streams.standard_library import module_snippets
from rgo_bench.zoo.streams.tasks import Task


def module_word_pieces(seed: int) -> list[Task]:
    """Return the tasks of `module_snippets` in the word pieces that MiniLM knows.

    Raises
    ------
    ValueError
        If `seed` is not an integer of at least 0.
    ModuleNotFoundError
        If the extra ``zoo`` is not installed.
    """
    pieces = minilm_pieces()

    def tokenize(text: str) -> list[int]:
        return list(pieces.encode(text, add_special_tokens=False).ids)

    return module_snippets(seed, tokenize)
