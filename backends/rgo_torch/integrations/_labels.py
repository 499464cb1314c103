"""The score of labels, where it was before it was public."""

from rgo_torch.labels import label_score
from rgo_torch.pairs import IGNORED

__all__ = ["IGNORED", "label_score"]
