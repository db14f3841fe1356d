"""Roots of symmetric matrices, differentiable where eigenvectors are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def symmetric_sqrt(matrix: Tensor) -> Tensor:
    r"""The positive semi-definite square root of a symmetric positive semi-definite matrix.

    Its gradient solves :math:`R X + X R = G` and so is finite where eigenvalues coincide, unlike
    that of an eigendecomposition; it can be differentiated again.

    Args:
        matrix: Shape ``(..., D, D)``. Eigenvalues below zero, from rounding, count as zero.

    Returns:
        Shape ``(..., D, D)``.

    Example:
        >>> symmetric_sqrt(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
        tensor([[2., 0.],
                [0., 3.]])
    """
    root: Tensor = _Sqrt.apply(matrix)
    return root


def symmetrize(matrix: Tensor) -> Tensor:
    """The mean of a matrix and its transpose."""
    return (matrix + matrix.mT) / 2


def cholesky(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor, NaN where the matrix is not positive definite.

    ``torch.linalg.cholesky`` raises there, for a whole batch, and waits for the device to tell.
    The diagonal grows by what rounding may have taken, 8 D machine epsilons, so that a matrix
    that is as good as singular has a factor.

    Args:
        matrix: Symmetric, of shape ``(..., D, D)``.
    """
    lost = 8 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    grown = matrix + lost * torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
    factor, info = torch.linalg.cholesky_ex(grown)
    result: Tensor = factor.masked_fill((info > 0)[..., None, None], torch.nan)
    return result


def cholesky_of_inverse(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor of the inverse, without inverting.

    Args:
        matrix: Symmetric positive definite, of shape ``(..., D, D)``.

    Returns:
        Shape ``(..., D, D)``.

    Example:
        >>> cholesky_of_inverse(torch.tensor([[4.0, 0.0], [0.0, 16.0]]))
        tensor([[0.5000, 0.0000],
                [0.0000, 0.2500]])
    """
    upper = cholesky(matrix.flip(-2, -1)).flip(-2, -1)  # matrix = upper @ upper.mT
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor: Tensor = torch.linalg.solve_triangular(upper.mT, identity, upper=False)
    return factor


class _Sqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        roots = values.clamp(min=0).sqrt()
        root: Tensor = (vectors * roots.unsqueeze(-2)) @ vectors.mT
        ctx.save_for_backward(root, roots, vectors)
        return root

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        root, roots, vectors = ctx.saved_tensors
        solution: Tensor = _Lyapunov.apply(root, symmetrize(gradient[0]), roots, vectors)
        return solution


class _Lyapunov(torch.autograd.Function):
    """The solution X of R X + X R = G for a root R, whose eigendecomposition is handed over."""

    @staticmethod
    def forward(ctx: Any, root: Tensor, right: Tensor, roots: Tensor, vectors: Tensor) -> Tensor:
        sums = roots.unsqueeze(-1) + roots.unsqueeze(-2)
        inner = vectors.mT @ right @ vectors
        solution = vectors @ torch.where(sums > 0, inner / sums, 0.0) @ vectors.mT
        ctx.save_for_backward(root, solution, roots, vectors)
        return solution

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        root, solution, roots, vectors = ctx.saved_tensors
        adjoint = _Lyapunov.apply(root, symmetrize(gradient[0]), roots, vectors)
        return -(adjoint @ solution + solution @ adjoint), adjoint, None, None
