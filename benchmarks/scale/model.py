"""What a task costs several workers, from the shapes of the weights alone.

`python model.py` prints the table of docs/scale.md. Seconds are counts divided by rates
that are assumed, and stated (`--flops`, `--bandwidth`); the counts are exact.
"""

import argparse
from collections.abc import Iterable
from typing import NamedTuple

# Of `rgo_torch.distributed.sums`: what is below diagonal blocks does not travel.
BLOCK = 256
GIB = 2**30


class Matrix(NamedTuple):
    """The second moments of so many parameters alike."""

    features: int  # n
    count: int = 1
    rows: int | None = None  # l of a sketch; None: whole

    @property
    def kept(self) -> int:
        """Bytes of H, all of them."""
        return 8 * self.features * (self.rows or self.features) * self.count

    @property
    def projection(self) -> int:
        """Bytes of P in float32, all of them."""
        return self.kept // 2

    @property
    def inversion(self) -> int:
        """Operations of all projections: ``n^3``; of a sketch ``4 n l^2``."""
        n = self.features
        each = n**3 if self.rows is None else 4 * n * self.rows**2
        return each * self.count

    def folding(self, vectors: int) -> int:
        """Operations of so many vectors: ``2 n^2`` each, of a sketch ``12 n l``."""
        n = self.features
        each = 2 * n * n if self.rows is None else 12 * n * self.rows
        return each * vectors * self.count

    def summed(self, workers: int) -> int:
        """Bytes that a worker sends and receives at most of a sum over all."""
        n = self.features
        if workers == 1:
            return 0
        if self.rows is not None:  # merged two by two, and sent to all
            steps = (workers - 1).bit_length()
            return 8 * n * self.rows * self.count * (steps + 1)
        own = sum(min(BLOCK, n - i) * (n - i) for i in range(0, n, BLOCK))
        return 2 * 8 * own * self.count * (workers - 1) // workers


def linear(n: int, m: int, count: int = 1, *, bias: bool = True) -> list[Matrix]:
    """Return the matrices of a linear layer: n inputs, and a bias of m entries."""
    return [Matrix(n, count)] + [Matrix(m, count)] * bias


def vit_large() -> list[Matrix]:
    """24 blocks of width 1024 on patches of 16 x 16, a head of 1000."""
    blocks = [
        *linear(1024, 3072, 24),
        *linear(1024, 1024, 24),
        *linear(1024, 4096, 24),
        *linear(4096, 1024, 24),
    ]
    return [*linear(768, 1024), *blocks, *linear(1024, 1000)]


def llama(rank: int | None) -> list[Matrix]:
    """32 blocks of width 4096 and 11008 without biases; adapters of a rank, or all."""
    inputs = [Matrix(4096, 6 * 32), Matrix(11008, 32)]
    if rank is not None:
        return [*inputs, Matrix(rank, 7 * 32)]
    return [*inputs, Matrix(4096)]


def sketched(matrices: Iterable[Matrix], features: int, rows: int) -> list[Matrix]:
    """Bound what has more features: `max_features` and `sketch_rows`."""
    return [m._replace(rows=rows) if m.features > features else m for m in matrices]


def heaviest(matrices: Iterable[Matrix], workers: int) -> int:
    """Return the operations of the worker that has most to invert."""
    loads = [0] * workers
    each = [m.inversion // m.count for m in matrices for _ in range(m.count)]
    for cost in sorted(each, reverse=True):
        loads[loads.index(min(loads))] += cost
    return max(loads)


MODELS = {
    "ViT-L/16": vit_large(),
    "7B, LoRA of rank 16": llama(16),
    "7B, LoRA, sketches of 128": sketched(llama(16), 1024, 128),
    "7B whole, sketches of 128": sketched(llama(None), 1024, 128),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--flops", type=float, default=10e12, help="float64, a worker")
    parser.add_argument("--bandwidth", type=float, default=50e9, help="bytes a second")
    chosen = parser.parse_args()
    heads = ("H", "sharded", "P", "fold, s", "sum", "sum, s", "invert, s", "send P, s")
    print("| model | workers |", " | ".join(heads), "|")
    print("| --- |", " | ".join(["--:"] * (len(heads) + 1)), "|")
    for name, matrices in MODELS.items():
        for workers in (1, 8, 64):
            kept = sum(m.kept for m in matrices)
            projection = sum(m.projection for m in matrices)
            folding = sum(m.folding(chosen.vectors) for m in matrices) / workers
            summed = sum(m.summed(workers) for m in matrices)
            inverting = heaviest(matrices, workers)
            sent = projection * (workers > 1)
            cells = (
                kept / GIB,
                kept / workers / GIB,
                projection / GIB,
                folding / chosen.flops,
                summed / GIB,
                summed / chosen.bandwidth,
                inverting / chosen.flops,
                sent / chosen.bandwidth,
            )
            values = " | ".join(f"{cell:.3g}" for cell in cells)
            print(f"| {name} | {workers} | {values} |")


if __name__ == "__main__":
    main()
