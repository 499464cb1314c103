"""The examples of pages, and data for them."""

import re
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

ROOT = Path(__file__).parents[1]


def code_blocks(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def loader(task: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(task)
    x = torch.randn(20, 10, 64, generator=generator)
    # Of the first ten pixels, in an order of the task's own, the largest.
    order = torch.randperm(64, generator=generator)[:10]
    return list(zip(x, x[..., order].argmax(-1), strict=True))


def permuted_digits(task: int) -> list[tuple[Tensor, Tensor]]:
    digits = load_digits()
    order = np.random.default_rng(task).permutation(64)
    x = torch.from_numpy(digits.data[:1024, order] / 16).float()
    return list(
        zip(x.split(16), torch.from_numpy(digits.target[:1024]).split(16), strict=True)
    )
