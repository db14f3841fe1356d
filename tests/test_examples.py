"""The examples run, shortened."""

from __future__ import annotations

from pathlib import Path

from examples import barycenters, breast_cancer, cite_seq, digits, spoken_digits


def test_digits() -> None:
    digits.main(max_epochs=1)
    assert Path("text_to_image.png").stat().st_size > 10_000


def test_barycenters() -> None:
    barycenters.main()
    for name in ("barycenters_1d.png", "barycenters_2d.png"):
        assert Path(name).stat().st_size > 10_000


def test_breast_cancer(real_data: Path) -> None:
    """Imputed proteins are nearer than the mean, after shorter trainings too."""
    found = breast_cancer.main(real_data / "breast_tcga" / "breast_tcga.npz", epochs=40, folds=5)
    assert found["MWB-VAE"][1] < found["mean"][1]
    assert found["MWB-VAE"][0] > 0.2
    assert Path("breast_cancer.png").stat().st_size > 10_000


def test_cite_seq(real_data: Path) -> None:
    path = real_data / "citeseq" / "citeseq_eccite_pbmc500.npz"
    found = cite_seq.main(path, epochs=10, folds=2)
    assert found["MWB-VAE"] > 0.1
    assert Path("cite_seq.png").stat().st_size > 10_000


def test_spoken_digits(real_data: Path) -> None:
    figures = spoken_digits.main(real_data / "fsdd", real_data / "mnist", epochs=6)
    assert figures["coherence/spoken->written"] > 0.2
    assert Path("spoken_digits.png").stat().st_size > 10_000
