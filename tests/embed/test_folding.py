"""Folded batch norms: the same vectors, and no folding if the order of names is not the order of calls."""

from __future__ import annotations

import torch
from torch import nn

from dupelake.config import EmbedConfig
from dupelake.embed.embedding import Embedder
from dupelake.embed.folding import fold_batch_norms
from dupelake.embed.models import load_model


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def worn(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A batch norm with statistics like those after training."""
    for values, low in ((norm.running_mean, -1.0), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -1.0)):
        assert values is not None
        nn.init.uniform_(values, low, low + 1.5)
    return norm


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, stride=2, bias=False), worn(nn.BatchNorm2d(8))
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, groups=4), worn(nn.BatchNorm2d(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu().mean(dim=(2, 3))


class Backwards(Net):
    """By name each norm follows a convolution, but it is applied before the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.bn2 = worn(nn.BatchNorm2d(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.conv1(x)
        return self.conv2(self.bn2(first.relu() + self.bn1(first))).mean(dim=(2, 3))


def test_the_default_model_gives_the_same_vectors_without_batch_norms() -> None:
    model = load_model(EmbedConfig())
    before = norms(model.module)
    made = fold_batch_norms(model.module, model.preprocess.side_px)
    assert before > 40
    assert norms(made) == 0
    assert norms(model.module) == before, "the model that was given is not touched"
    x = torch.rand((3, 3, 224, 224), generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        a, b = (nn.functional.normalize(each(x)) for each in (model.module, made))
    assert float((a - b).abs().max()) < 1e-5


def test_strides_and_groups_are_folded() -> None:
    net = Net().eval()
    made = fold_batch_norms(net, 32)
    assert norms(made) == 0
    x = torch.rand((4, 3, 32, 32))
    with torch.inference_mode():
        torch.testing.assert_close(made(x), net(x))


def test_a_norm_that_is_not_behind_the_convolution_before_it_stays() -> None:
    net = Backwards().eval()
    assert fold_batch_norms(net, 32) is net


def test_nothing_to_fold_gives_the_module_itself() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert fold_batch_norms(plain, 32) is plain
    script = torch.jit.trace(Net().eval(), torch.rand((1, 3, 32, 32)))
    assert fold_batch_norms(script, 32) is script


def test_a_forward_that_looks_into_its_norms_keeps_them() -> None:
    class Curious(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.bn2.weight

    net = Curious().eval()
    assert fold_batch_norms(net, 32) is net


def test_narrower_types_are_left_as_they_are() -> None:
    model = load_model(EmbedConfig())
    assert norms(Embedder(model, "cpu", precision="bfloat16")._module) > 40
    assert norms(Embedder(model, "cpu")._module) == 0
