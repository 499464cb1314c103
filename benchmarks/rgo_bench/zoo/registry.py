"""The models of the zoo, each with its stream and how it is trained."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Final

from torch import nn

from rgo_bench.zoo import streams
from rgo_bench.zoo.models import convolutional, hugging_face, sequences
from rgo_bench.zoo.streams.standard_library import CLASSES


@dataclass(frozen=True)
class Entry:
    """A model of the zoo."""

    build: Callable[[], nn.Module]  # draws from PyTorch's generator
    stream: Callable[[int], list[streams.Task]]  # of a seed
    _: KW_ONLY
    lr: float = 1e-3
    batch: int = 16
    steps: int = 300  # of a task
    sgd_lr: float = 0.05  # of SGD with momentum, which needs more steps
    sgd_steps: int | None = None
    # Convolutions whose outputs are added to others: their order must stay.
    shortcuts: tuple[str, ...] = ()
    head: str = "head"
    head_lr: float = 1e-2  # of the head alone, on a frozen body


_SHORTCUTS = ("blocks.1.shortcut.0", "blocks.2.shortcut.0")

ZOO: Final[Mapping[str, Entry]] = {
    "vit": Entry(
        hugging_face.vit,
        streams.permuted_digits,
        head="model.classifier",
        sgd_steps=1200,
    ),
    "bert": Entry(
        partial(hugging_face.bert, CLASSES),
        streams.module_snippets,
        head="model.classifier",
        sgd_lr=0.02,
        sgd_steps=900,
    ),
    "gpt2": Entry(hugging_face.gpt2, streams.next_bytes, head="model.lm_head"),
    "llama": Entry(hugging_face.llama, streams.next_bytes, head="model.lm_head"),
    "encoder": Entry(
        sequences.EncoderClassifier, streams.module_snippets, sgd_steps=600
    ),
    "mixer": Entry(sequences.Mixer, streams.permuted_digits),
    "convnext": Entry(
        hugging_face.convnext, streams.split_digits, head="model.classifier"
    ),
    "mobilenet": Entry(convolutional.MobileNet, streams.split_digits),
    "resnet-batch": Entry(
        partial(convolutional.ResNet, nn.BatchNorm2d),
        streams.split_digits,
        shortcuts=_SHORTCUTS,
    ),
    "resnet-group": Entry(
        partial(convolutional.ResNet, partial(nn.GroupNorm, 4)),
        streams.split_digits,
        shortcuts=_SHORTCUTS,
    ),
    "lstm": Entry(sequences.LSTMLanguageModel, streams.next_bytes, lr=3e-3),
    "gru": Entry(
        sequences.GRUClassifier, streams.module_snippets, lr=3e-3, sgd_steps=600
    ),
    "rnn": Entry(sequences.RowReader, streams.permuted_digits, lr=3e-3),
    "audio": Entry(convolutional.AudioNetwork, streams.speakers),
    "unet": Entry(convolutional.UNet, streams.digits_on_photographs, steps=900),
    "minilm": Entry(
        partial(hugging_face.minilm, CLASSES),
        partial(streams.module_snippets, tokenize=hugging_face.word_pieces),
        lr=1e-4,
        batch=8,
        steps=60,
        head="model.classifier",
    ),
}
