"""The models of the zoo, each with its stream and how it is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import nn

from rgo_bench.zoo.models import hugging_face
from rgo_bench.zoo.models.audio import AudioNetwork
from rgo_bench.zoo.models.encoder import EncoderClassifier
from rgo_bench.zoo.models.mixer import Mixer
from rgo_bench.zoo.models.mobilenet import MobileNet
from rgo_bench.zoo.models.recurrent import (
    GRUClassifier,
    LSTMLanguageModel,
    RowReader,
)
from rgo_bench.zoo.models.resnet import ResNet
from rgo_bench.zoo.models.unet import UNet
from rgo_bench.zoo.streams import (
    Task,
    digits_on_photographs,
    module_snippets,
    next_bytes,
    permuted_digits,
    speakers,
    split_digits,
)
from rgo_bench.zoo.streams.standard_library import (
    CLASSES,
    SYMBOLS,
    VOCABULARY,
    WORDS,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model of the zoo."""

    build: Callable[[], nn.Module]  # draws from PyTorch's generator
    stream: Callable[[int], list[Task]]  # of a seed
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
        build=hugging_face.vit,
        stream=permuted_digits,
        head="model.classifier",
        sgd_steps=1200,
    ),
    "bert": Entry(
        build=lambda: hugging_face.bert(CLASSES),
        stream=module_snippets,
        head="model.classifier",
        sgd_lr=0.02,
        sgd_steps=900,
    ),
    "gpt2": Entry(build=hugging_face.gpt2, stream=next_bytes, head="model.lm_head"),
    "llama": Entry(build=hugging_face.llama, stream=next_bytes, head="model.lm_head"),
    "encoder": Entry(
        build=lambda: EncoderClassifier(
            vocabulary=VOCABULARY, length=WORDS, classes=CLASSES
        ),
        stream=module_snippets,
        sgd_steps=600,
    ),
    "mixer": Entry(build=Mixer, stream=permuted_digits),
    "convnext": Entry(
        build=hugging_face.convnext,
        stream=split_digits,
        head="model.classifier",
    ),
    "mobilenet": Entry(build=MobileNet, stream=split_digits),
    "resnet-batch": Entry(
        build=lambda: ResNet("batch"),
        stream=split_digits,
        shortcuts=_SHORTCUTS,
    ),
    "resnet-group": Entry(
        build=lambda: ResNet("group"),
        stream=split_digits,
        shortcuts=_SHORTCUTS,
    ),
    "lstm": Entry(
        build=lambda: LSTMLanguageModel(vocabulary=SYMBOLS),
        stream=next_bytes,
        lr=3e-3,
    ),
    "gru": Entry(
        build=lambda: GRUClassifier(vocabulary=VOCABULARY, classes=CLASSES),
        stream=module_snippets,
        lr=3e-3,
        sgd_steps=600,
    ),
    "rnn": Entry(build=RowReader, stream=permuted_digits, lr=3e-3),
    "audio": Entry(build=AudioNetwork, stream=speakers),
    "unet": Entry(build=UNet, stream=digits_on_photographs, steps=900),
    "minilm": Entry(
        build=lambda: hugging_face.minilm(CLASSES),
        stream=partial(module_snippets, tokenize=hugging_face.word_pieces),
        lr=1e-4,
        batch=8,
        steps=60,
        head="model.classifier",
    ),
}
