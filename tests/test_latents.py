"""Pictures of the latent space."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmvae_bary import MWBVAE, DigitsDataModule, Modality, MoEVAE, latents
from mmvae_bary.likelihoods import Categorical
from tests.conftest import tiny_inputs, tiny_model


def test_traversals_and_interpolations_are_drawn(data: DigitsDataModule) -> None:
    modalities = {
        "scene": Modality((3, 16, 16)),
        "text": Modality((8, 27), likelihood=Categorical()),
    }
    model = MWBVAE(modalities, latent_dim=3).eval()
    latents.traversal(model, 1, data.alphabets, num_steps=4).savefig("traversal.png")
    batch = data.sample_batch(2)
    first, second = ({name: batch.inputs[name][row] for name in modalities} for row in (0, 1))
    del second["text"]
    figure = latents.interpolation(model, first, second, data.alphabets)
    figure.savefig("interpolation.png")
    for name in ("traversal.png", "interpolation.png"):
        assert Path(name).stat().st_size > 5_000
    vectors = MWBVAE({"vector": Modality((4,))}, latent_dim=3).eval()
    with pytest.raises(ValueError, match=r"got modalities of shapes .*, expected a picture"):
        latents.traversal(vectors, 1)
    with pytest.raises(ValueError, match="got dimension=99, expected one of the"):
        latents.traversal(model, 99)


def test_a_mixture_has_no_geodesic() -> None:
    model = tiny_model(MoEVAE).eval()
    sample = {name: x[0] for name, x in tiny_inputs(1).items()}
    with pytest.raises(ValueError, match="got a posterior of MixtureOfExperts, which is a mixt"):
        latents.interpolation(model, sample, sample)
