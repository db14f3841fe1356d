"""How close generated samples and reconstructions are to the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance

from mmvae_bary.metrics.coherence import sources
from mmvae_bary.modality import is_picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INCEPTION_FEATURES = 2048
PICTURES = 64  # that Inception sees at once, each enlarged to 299 pixels a side
SSIM_WINDOW = 11  # pixels


class ClassifierFeatures(nn.Module):
    """What a classifier makes of a sample before its last linear layer.

    Args:
        classifier: From ``(N, *shape)`` to logits, with an ``nn.Linear`` at its end.

    Raises:
        ValueError: If there is none.

    Example:
        >>> classifier = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> features = ClassifierFeatures(classifier)
        >>> features.num_features, features(torch.ones(5, 4)).shape
        (3, torch.Size([5, 3]))
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        layers = [layer for layer in classifier.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise ValueError(
                f"got a classifier without a linear layer, {type(classifier).__name__}, expected "
                "one that ends with nn.Linear: what goes into it are the features"
            )
        self.classifier = classifier
        self.last = layers[-1]
        self.num_features = self.last.in_features

    def forward(self, x: Tensor) -> Tensor:
        """From samples ``(N, *shape)`` to features ``(N, num_features)``."""
        seen: list[Tensor] = []
        handle = self.last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.classifier(x)
        finally:
            handle.remove()
        return seen[-1].flatten(1)


class InceptionFeatures(nn.Module):
    """The features of Inception-v3 that published Fréchet inception distances (FID) are of.

    Args:
        weights: File of the network's weights as they were ported from TensorFlow,
            ``pt_inception-2015-12-05-6726825d.pth`` of torch-fidelity, which must be installed.
    """

    num_features = INCEPTION_FEATURES

    def __init__(self, weights: str) -> None:
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise ImportError(
                "Inception's features: got no torch-fidelity, expected pip install "
                "'mmvae-bary[fid]'"
            ) from None
        # not torchvision's network nor torchmetrics' resizing, which published distances lack
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat",
            [str(INCEPTION_FEATURES)],
            feature_extractor_weights_path=weights,
        ).eval()

    def forward(self, x: Tensor) -> Tensor:
        """From pictures in [0, 1], ``(N, 1 or 3, H, W)``, to features ``(N, 2048)``."""
        pixels = (x.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1)
        return torch.cat([self.network(part)[0].flatten(1) for part in pixels.split(PICTURES)])


class FrechetDistance(Metric):
    r"""Fréchet distance between real and generated samples, in the features of a network.

    .. math::
        d^2 = |\mu_1 - \mu_2|^2
            + \mathrm{tr} (\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})

    The squared 2-Wasserstein distance of the Gaussians that have the features' moments. It falls
    with the number of samples, and is of one kind of features only: compare models judged alike.

    Args:
        modalities: The modalities' names, in the model's order.
        features: Modality name to a module from ``(N, *shape)`` to ``(N, num_features)``, in
            evaluation mode, that has the attribute ``num_features``.

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017.
    """

    full_state_update = False
    higher_is_better = False

    distances: Any

    def __init__(self, modalities: Sequence[str], features: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.features = {name: features[name] for name in modalities}
        self.sources = {
            name: [*map("+".join, sources(modalities, name)), "prior"] for name in modalities
        }
        self.distances = nn.ModuleList(
            _frechet(features[name]) for name in modalities for _ in self.sources[name]
        )

    def update(
        self,
        real: Mapping[str, Tensor],
        generated: Mapping[str, Tensor],
        prior: Mapping[str, Tensor],
        present: Mapping[str, Tensor] | None = None,
        there: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            real: Modality name to real samples of shape ``(B, *shape)``.
            generated: Modality name to samples of shape ``(K, B, *shape)``, generated from its K
                :func:`~mmvae_bary.metrics.sources`, in their order.
            prior: Modality name to samples of shape ``(B, *shape)``, generated from the prior.
            present: Modality name to booleans of shape ``(B,)``: which real samples are there; all
                if None.
            there: Modality name to booleans of shape ``(K, B)``: which sources an item has; all
                if None.
        """
        distances = iter(self.distances)
        for name, extract in self.features.items():
            truth = _those(extract(real[name]), None if present is None else present[name])
            made = torch.cat([generated[name], prior[name].unsqueeze(0)])
            found = extract(made.flatten(0, 1)).unflatten(0, made.shape[:2])
            counted = [None] * len(found) if there is None else [*there[name], None]
            for row, has in zip(found, counted, strict=True):
                distance = next(distances)
                distance.update(truth, real=True)
                distance.update(_those(row, has), real=False)

    def compute(self) -> dict[str, Tensor]:
        """Distances by ``frechet/SOURCES->TARGET`` and ``frechet/prior->TARGET``, and means.

        ``frechet/mean->TARGET`` is the mean over sources, the prior left out. There is none over
        targets, whose features have scales of their own, and nothing at all of a single sample.
        """
        distances = iter(self.distances)
        result: dict[str, Tensor] = {}
        for name in self.features:
            found = {
                f"frechet/{s}->{name}": _distance(next(distances)) for s in self.sources[name]
            }
            known = {key: value for key, value in found.items() if value is not None}
            if given := [value for key, value in known.items() if "/prior->" not in key]:
                known[f"frechet/mean->{name}"] = torch.stack(given).mean()
            result |= known
        return result


class ReconstructionQuality(Metric):
    """Mean squared error, peak signal-to-noise ratio and structural similarity of reconstructions.

    Of each modality given itself, and given all. The last two are for pictures alone: shape
    ``(1 or 3, H, W)`` of 11 pixels or more a side, in [0, 1].

    Args:
        modalities: The modalities' names, in the model's order.
        shapes: Name of a modality to judge to the shape of a sample.

    References:
        Wang et al., Image quality assessment: from error visibility to structural similarity,
        IEEE Transactions on Image Processing, 2004.
    """

    full_state_update = False

    items: Tensor
    measures: Any

    def __init__(self, modalities: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        zeros = torch.zeros(len(shapes), 2, dtype=torch.long)
        self.add_state("items", zeros, dist_reduce_fx="sum")
        self.all = "+".join(modalities)
        self.names = tuple(shapes)
        self.measures = nn.ModuleDict(
            {
                name: nn.ModuleList(nn.ModuleDict(_measures(shape)) for _ in range(2))
                for name, shape in shapes.items()
            }
        )

    def update(
        self,
        real: Mapping[str, Tensor],
        reconstructed: Mapping[str, Tensor],
        there: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            real: Modality name to samples of shape ``(B, *shape)``.
            reconstructed: Modality name to samples of shape ``(2, B, *shape)``: reconstructed from
                the modality itself, and from all.
            there: Modality name to booleans of shape ``(2, B)``: which items have the modality,
                and which have all; all items if None.
        """
        for place, name in enumerate(self.names):
            for row, measures in enumerate(self.measures[name]):
                has = None if there is None else there[name][row]
                made, truth = (_those(x, has) for x in (reconstructed[name][row], real[name]))
                self.items[place, row] += len(truth)
                if len(truth):
                    for measure in measures.values():
                        measure.update(made.contiguous(), truth)

    def compute(self) -> dict[str, Tensor]:
        """Figures by ``mse/SOURCES->TARGET``, ``psnr/...`` in decibels and ``ssim/...``.

        The error is a mean over variables and items; the ratio is that of the mean error, and
        left out where there is no error. What no item has is left out.
        """
        result, items = {}, iter(self.items.flatten())
        for name in self.names:
            for given, measures in zip((name, self.all), self.measures[name], strict=True):
                if not next(items):
                    continue
                for key, measure in measures.items():
                    value = measure.compute()
                    if not value.isinf():
                        result[f"{key}/{given}->{name}"] = value
        return result


def _frechet(features: nn.Module) -> FrechetInceptionDistance:
    # what is fed are features already, found once for all distances
    identity = nn.Identity()
    identity.num_features = features.num_features
    distance = FrechetInceptionDistance(identity, sync_on_compute=False)  # see _distance
    distance.orig_dtype = torch.float32  # else unknown to a process that no batch came to
    return distance


def _measures(shape: Sequence[int]) -> dict[str, Metric]:
    measures: dict[str, Metric] = {"mse": MeanSquaredError()}
    if is_picture(shape) and min(shape[1:]) >= SSIM_WINDOW:
        measures["psnr"] = PeakSignalNoiseRatio(data_range=1.0)
        measures["ssim"] = StructuralSimilarityIndexMeasure(data_range=1.0)
    return measures


def _those(values: Tensor, there: Tensor | None) -> Tensor:
    return values if there is None else values[there]


def _distance(measure: Any) -> Tensor | None:
    """The distance, NaN where features are, None where one sample has no covariance."""
    with measure.sync_context():  # first, so that all processes decide alike
        if min(measure.real_features_num_samples, measure.fake_features_num_samples) < 2:
            return None
        moments = (measure.real_features_cov_sum, measure.fake_features_cov_sum)
        if not all(bool(x.isfinite().all()) for x in moments):
            return torch.full_like(moments[0][0, 0], torch.nan)
        value: Tensor = measure.compute()
        return value
