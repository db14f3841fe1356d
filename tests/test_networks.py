"""The benchmarks' networks: the parameter counts of the reference code, and shapes both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mmvae_bary import networks

POLYMNIST, MNIST, SVHN = (3, 28, 28), (1, 28, 28), (3, 32, 32)
DIGIT_TEXT, FACE, FACE_TEXT = (8, 71), (3, 64, 64), (256, 71)

# Network, parameters in the reference code, input shape, output shape. CelebA's counts are at a
# shared width of 20 beside a private one of 32.
NETWORKS: list[tuple[Callable[[], nn.Module], int, tuple[int, ...], tuple[int, ...]]] = [
    (lambda: networks.PolyMNISTEncoder(512), 1_667_648, POLYMNIST, (1024,)),
    (lambda: networks.PolyMNISTDecoder(512), 1_143_747, (512,), POLYMNIST),
    (networks.PolyMNISTClassifier, 130_568, POLYMNIST, (10,)),
    (lambda: networks.MNISTEncoder(20), 330_040, MNIST, (40,)),
    (lambda: networks.MNISTDecoder(20), 322_784, (20,), MNIST),
    (networks.MNISTClassifier, 165_866, MNIST, (10,)),
    (lambda: networks.SVHNEncoder(20), 236_360, SVHN, (40,)),
    (lambda: networks.SVHNDecoder(20), 233_763, (20,), SVHN),
    (networks.SVHNClassifier, 233_066, SVHN, (10,)),
    (lambda: networks.DigitTextEncoder(20), 145_704, DIGIT_TEXT, (40,)),
    (lambda: networks.DigitTextDecoder(20), 143_175, (20,), DIGIT_TEXT),
    (networks.DigitTextClassifier, 459_850, DIGIT_TEXT, (10,)),
    (lambda: networks.CelebAImageEncoder(52), 21_543_656, FACE, (104,)),
    (lambda: networks.CelebAImageDecoder(52), 21_904_643, (52,), FACE),
    (networks.CelebAImageClassifier, 21_502_632, FACE, (40,)),
    (lambda: networks.CelebATextEncoder(52), 13_235_432, FACE_TEXT, (104,)),
    (lambda: networks.CelebATextDecoder(52), 13_596_359, (52,), FACE_TEXT),
    (networks.CelebATextClassifier, 16_261_544, FACE_TEXT, (40,)),
]


@pytest.mark.parametrize(("make", "count", "before", "after"), NETWORKS)
def test_parameters_and_shapes(
    make: Callable[[], nn.Module], count: int, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    network = make().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    with torch.no_grad():
        assert network(torch.zeros(2, *before)).shape == (2, *after)


def test_every_network_is_covered() -> None:
    tested = {type(make()).__name__ for make, *_ in NETWORKS}
    plain = {
        "CovarianceHead",
        "Log1p",
        "MLPClassifier",
        "MLPDecoder",
        "MLPEncoder",
        "DigitsSceneClassifier",
    }
    assert set(networks.__all__) - plain - {"DigitsSceneEncoder"} == tested


def test_the_judge_of_house_numbers_does_not_see_contrast() -> None:
    torch.manual_seed(0)
    judge, published = networks.SVHNClassifier().eval(), networks.SVHNClassifier(False).eval()
    # in the same order, by other names: a layer comes before them
    weights = dict(zip(published.state_dict(), judge.state_dict().values(), strict=True))
    published.load_state_dict(weights)
    pictures = torch.rand(5, *SVHN)
    faint = 0.4 + 0.1 * pictures

    def change(network: nn.Module) -> float:
        with torch.no_grad():
            return float((network(faint) - network(pictures)).norm() / network(pictures).norm())

    assert change(judge) < 0.01
    assert change(published) > 5 * change(judge)
    assert sum(p.numel() for p in published.parameters()) == 233_066
