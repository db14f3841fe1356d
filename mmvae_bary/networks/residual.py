"""Residual blocks, as the text classifier of MNIST-SVHN-Text and all of CelebA have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

# kernel, stride and padding of a block that halves or doubles a length, and of one to or from one
HALVE = (4, 2, 1)
TO_ONE = (4, 2, 0)
FROM_ONE = (4, 1, 0)


class Residual(nn.Module):
    """A weighted sum of two paths: ``skip_weight * skip(x) + 0.3 * branch(x)``.

    Args:
        branch: The path with two convolutions.
        skip: The path with one.
        skip_weight: Weight of the latter.
    """

    def __init__(self, branch: nn.Module, skip: nn.Module, skip_weight: float) -> None:
        super().__init__()
        self.branch = branch
        self.skip = skip
        self.skip_weight = skip_weight

    def forward(self, x: Tensor) -> Tensor:
        """From ``(B, C, ...)`` to ``(B, C', ...)``."""
        output: Tensor = self.skip_weight * self.skip(x) + 0.3 * self.branch(x)
        return output


def residual_1d(
    before: int,
    after: int,
    geometry: tuple[int, int, int],
    *,
    transposed: bool = False,
    dropout: bool = True,
    skip_weight: float = 2.0,
) -> Residual:
    """A block over sequences, from ``(B, before, L)`` to ``(B, after, L')``."""
    convolution = nn.ConvTranspose1d if transposed else nn.Conv1d
    drop = nn.Dropout if dropout else None
    branch = _branch(convolution, nn.BatchNorm1d, drop, before, after, geometry, bias=True)
    skip = nn.Sequential(convolution(before, after, *geometry), nn.BatchNorm1d(after))
    return Residual(branch, skip, skip_weight)


def residual_2d(
    before: int, after: int, geometry: tuple[int, int, int], *, transposed: bool = False
) -> Residual:
    """A block over pictures, from ``(B, before, H, W)`` to ``(B, after, H', W')``."""
    convolution = nn.ConvTranspose2d if transposed else nn.Conv2d
    branch = _branch(
        convolution, nn.BatchNorm2d, nn.Dropout2d, before, after, geometry, bias=False
    )
    skip = nn.Sequential(convolution(before, after, *geometry), nn.BatchNorm2d(after))
    return Residual(branch, skip, 2.0)


def _branch(
    convolution: Callable[..., nn.Module],
    normalization: Callable[[int], nn.Module],
    dropout: Callable[[float], nn.Module] | None,
    before: int,
    after: int,
    geometry: tuple[int, int, int],
    *,
    bias: bool,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, shape in ((before, (1,)), (after, geometry)):
        layers += [normalization(before), nn.ReLU(), convolution(before, width, *shape, bias=bias)]
        if dropout is not None:
            layers.append(dropout(0.5))
    return nn.Sequential(*layers)
