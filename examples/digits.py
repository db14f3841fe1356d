"""Digits from words
=================

Train MWB-VAE on the digits from Python, then generate pictures from words.

Takes about 20 seconds and writes ``text_to_image.png``.
"""

from __future__ import annotations

from lightning.pytorch import Trainer

from mmvae_bary import MWBVAE, DigitsDataModule, LinearProbeCallback, Modality
from mmvae_bary.likelihoods import Categorical, Laplace, Likelihood
from mmvae_bary.networks import MLPDecoder, MLPEncoder
from mmvae_bary.plotting import sample_grid


def modality(shape: tuple[int, ...], likelihood: Likelihood) -> Modality:
    """A modality on multilayer perceptrons."""
    return Modality(shape, MLPEncoder(shape, 20), MLPDecoder(20, shape), likelihood)


def main(max_epochs: int = 10) -> None:
    """Train, judge and draw."""
    modalities = {
        "image": modality((1, 16, 16), Laplace(0.75)),
        "scene": modality((3, 16, 16), Laplace(0.75)),
        "text": modality((8, 27), Categorical()),
    }
    weights = {"image": 3.0, "scene": 1.0, "text": 24.0}
    model = MWBVAE(modalities, latent_dim=20, beta=2.5, reconstruction_weights=weights)
    data = DigitsDataModule()
    trainer = Trainer(
        max_epochs=max_epochs,
        callbacks=[LinearProbeCallback()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data)

    batch = data.sample_batch(10)
    pictures = model.generate(batch.inputs, given=["text"], targets=["image"], num_samples=3)
    rows = [("text", batch.inputs["text"])] + [("image", sample) for sample in pictures["image"]]
    sample_grid(rows, data.alphabets, "text → image").savefig("text_to_image.png", dpi=120)


if __name__ == "__main__":
    main()
