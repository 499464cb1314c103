"""A head that grows, and modules that are new: a state goes on in a wider model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch_backend.learning import learned
from torch_backend.nets import batch, batches, gradients_of, loss_of, sgd, train

from rgo_core.scaling import Normalize
from rgo_torch import RGO


def grown(model: nn.Sequential, outputs: int) -> nn.Sequential:
    """Return the model with a wider head, whose first rows are the old ones."""
    old, new = model[4], nn.Linear(8, outputs)
    with torch.no_grad():
        new.weight[: old.out_features] = old.weight
        new.bias[: old.out_features] = old.bias
    model[4] = new
    return model


@pytest.mark.parametrize("normalize", ["weights", "all"])
def test_a_head_that_grows_keeps_the_projections_of_its_old_rows(
    normalize: Normalize,
) -> None:
    model, rgo = learned(normalize=normalize)
    x, state = batch()[0], rgo.state_dict()
    with rgo.task(0):
        before = model(x)
    rgo.detach()
    optimizer = sgd(grown(model, 7))
    wider = RGO(model, optimizer, normalize=normalize)
    message = r"4.bias: expected a matrix of shape \(7, 7\), got \(4, 4\)"
    with pytest.raises(ValueError, match=message):
        wider.load_state_dict(state)
    wider.load_state_dict(state, grown=["4"])
    assert wider.finished == 1
    for name, entry in state["parameters"].items():
        P = wider.projector.projections[name]
        if name != "4.bias":
            assert torch.equal(P, entry["projection"])
            continue
        expected = torch.block_diag(entry["projection"], torch.eye(3))
        assert torch.equal(P, expected)
    wider.begin_task(1)
    train(model, optimizer, [(x, y + 3) for x, y in batches(20, seed=4)])
    wider.end_task([(x, y + 3) for x, y in batches(seed=4)])
    assert wider.projector.moments["4.bias"].matrix.shape == (7, 7)
    if normalize == "all":  # which opens closed directions again
        return
    with wider.task(0):
        assert torch.dist(model(x)[:, :4], before) < 0.3 * before.norm()


class Words(nn.Module):
    """An embedding and a head of as many words."""

    def __init__(self, words: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(words, 5), nn.Linear(5, words)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.tanh(self.embed(ids)).mean(1))
        return logits


def sentences(words: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randint(words, (9, 3)), torch.randint(words, (9,)))]


@pytest.mark.parametrize("normalize", ["none", "weights"])
def test_a_vocabulary_that_grows_keeps_the_projection_of_its_old_words(
    normalize: Normalize,
) -> None:
    model = Words(6)
    rgo = RGO(model, sgd(model), normalize=normalize)
    rgo.begin_task(0)
    rgo.end_task(sentences(6))
    state, larger = rgo.state_dict(), Words(8)
    with torch.no_grad():
        for new, old in zip(larger.parameters(), model.parameters(), strict=True):
            new[: len(old)] = old
    optimizer = sgd(larger)
    wider = RGO(larger, optimizer, normalize=normalize)
    with pytest.raises(ValueError, match=r"expected a diagonal of shape \(8,\), got"):
        wider.load_state_dict(state)
    wider.load_state_dict(state, grown=["embed", "head"])
    old, new = (r.projector.projections["embed.weight"] for r in (rgo, wider))
    assert torch.equal(new.diagonal[:6], old.diagonal)
    assert torch.equal(new.diagonal[6:], torch.ones(2))
    assert not wider.projector.moments["embed.weight"].diagonal[6:].any()
    wider.begin_task(1)
    before = larger.embed.weight.detach().clone()
    functional.cross_entropy(
        larger(torch.tensor([[0, 6, 7]])), torch.tensor([7])
    ).backward()
    optimizer.step()
    moved = (larger.embed.weight - before).norm(dim=1)
    assert (moved[6:] > 0).all()
    wider.end_task(sentences(8))
    assert wider.projector.moments["embed.weight"].diagonal.shape == (8,)


def test_a_head_that_is_appended_is_to_be_left_in_order_too() -> None:
    def heads(count: int) -> nn.Module:
        return nn.ModuleList([nn.Linear(3, 2) for _ in range(count)])

    one, two = heads(1), heads(2)
    state = RGO(one, sgd(one)).state_dict()
    message = r"more is encoded here, \['0'\]: leave it in order too, by naming it and"
    rgo = RGO(two, sgd(two))
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(state, grown=["1"])
    rgo.detach()
    RGO(two, sgd(two), unencoded=["0", "1"]).load_state_dict(state, grown=["1"])


def test_a_module_that_is_new_is_named_or_refused() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(12, 8)
            self.heads = nn.ModuleList([nn.Linear(8, 4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            head: torch.Tensor = self.heads[-1](self.body(x).relu())
            return head

    model = Heads()
    rgo = RGO(model, sgd(model), encode=False)
    rgo.begin_task(0)
    rgo.end_task(batches())
    state = rgo.state_dict()
    rgo.detach()
    model.heads.append(nn.Linear(8, 4))
    more = RGO(model, sgd(model), encode=False)
    message = r"lacks the parameters \['heads.1.weight', 'heads.1.bias'\]; if their"
    with pytest.raises(ValueError, match=message):
        more.load_state_dict(state)
    more.load_state_dict(state, grown=["heads.1"])
    more.begin_task(1)
    more.end_task(batches())
    assert int(more.projector.moments["heads.1.weight"].count)
    assert int(more.projector.moments["body.weight"].count) == 96


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("4", "grown must be names in a list, got the string '4'"),
        (["5"], r"grown must name modules among \['0', '2', '4'\], got \['5'\]"),
    ],
)
def test_grown_names_modules(given: Any, message: str) -> None:
    _, rgo = learned()
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(rgo.state_dict(), grown=given)


@pytest.mark.parametrize(
    ("change", "name", "new"),
    [
        (lambda m: prune.l1_unstructured(m, "weight", 0.3), "weight_orig", []),
        (
            parametrizations.weight_norm,
            "parametrizations.weight.original1",
            ["2.parametrizations.weight"],
        ),
    ],
)
def test_a_weight_that_is_computed_now_goes_on_by_the_name_of_what_it_is_made_of(
    change: Callable[[nn.Module], object], name: str, new: list[str]
) -> None:
    model, rgo = learned()
    change(model[2])
    message = (
        "2.weight: the model has no such parameter any more, as where it was pruned, .*"
        "not projected; do that before RGO is attached, or .* stands in place of this"
    )
    with pytest.raises(RuntimeError, match=message):
        rgo.begin_task(1)
    state = rgo.state_dict()
    rgo.detach()
    optimizer = sgd(model)
    again = RGO(model, optimizer)
    message = r"; if they are \['2.weight'\] by other names, as after pruning, rename"
    with pytest.raises(ValueError, match=message):
        again.load_state_dict(state)
    for part in state["parameters"], state["axes"]:
        part[f"2.{name}"] = part.pop("2.weight")
    again.load_state_dict(state, grown=new)
    again.begin_task(1)
    found = gradients_of(model, lambda: loss_of(model, *batch()))
    with again.projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, *batch()))
    P = state["parameters"][f"2.{name}"]["projection"]
    torch.testing.assert_close(found[f"2.{name}"], plain[f"2.{name}"] @ P)
    assert not torch.allclose(found[f"2.{name}"], plain[f"2.{name}"])
    again.end_task(batches(seed=4))
    before = int(state["parameters"][f"2.{name}"]["count"])
    assert int(again.projector.moments[f"2.{name}"].count) == 2 * before
