"""Saved models: a round trip through a folder, the card, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml

from mmvae_bary import MWBVAE, WBVAE, GeometricBarycenter, MultimodalVAE, PoEVAE
from mmvae_bary.pretrained import CITATION
from tests.conftest import tiny_modalities, tiny_model

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "tests" / "reliability" / "checkpoints" / "v0.1.ckpt"


def same(first: MultimodalVAE, second: MultimodalVAE) -> bool:
    inputs = {name: torch.rand(3, *m.shape) for name, m in first.modalities.items()}
    posteriors = [model.eval().encode(inputs) for model in (first, second)]
    return torch.equal(*(q.mean for q in posteriors)) and torch.equal(
        *(q.stddev for q in posteriors)
    )


@pytest.mark.parametrize("cls", [PoEVAE, WBVAE, MWBVAE])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_model_made_in_python_comes_back_with_its_networks_given(
    cls: type[MultimodalVAE], covariance: str
) -> None:
    weights = {"image": 1.0, "code": 2.0, "text": 3.0}
    model = tiny_model(
        cls, 2, beta=2.5, covariance=covariance, warmup_steps=7, reconstruction_weights=weights
    )
    model.save_pretrained("saved")
    for by in (cls, MultimodalVAE):
        loaded = by.from_pretrained("saved", modalities=tiny_modalities(2))
        assert type(loaded) is cls
        assert not loaded.training
        assert same(model, loaded)
        assert (loaded.beta, loaded.warmup_steps) == (2.5, 7)
        assert loaded.reconstruction_weights == weights


def test_a_barycenter_of_ones_own_is_to_be_given_too() -> None:
    model = tiny_model(MultimodalVAE, barycenter=GeometricBarycenter())
    model.save_pretrained("saved")
    given: dict[str, Any] = {"modalities": tiny_modalities(), "barycenter": GeometricBarycenter()}
    assert same(model, MultimodalVAE.from_pretrained("saved", **given))
    tiny_model(WBVAE, barycenter=GeometricBarycenter()).save_pretrained("other")
    with pytest.raises(
        ValueError, match=r"got the barycenter WassersteinBarycenter\(\), expected"
    ):
        WBVAE.from_pretrained("other", modalities=tiny_modalities())


def test_a_model_of_the_command_line_comes_back_by_its_settings() -> None:
    """From its checkpoint to a folder, to the next folder, by the base class."""
    model: MultimodalVAE = MultimodalVAE.load_from_checkpoint(CHECKPOINT)
    assert type(model) is MWBVAE
    model.save_pretrained("one")
    again = MultimodalVAE.from_pretrained("one")
    assert type(again) is MWBVAE
    assert same(model, again)
    again.save_pretrained("two")
    assert same(model, MWBVAE.from_pretrained("two"))
    assert "modalities={" not in Path("two/README.md").read_text(encoding="utf-8")
    other = MWBVAE.from_pretrained("two", beta=7.0)
    assert same(model, other)
    assert other.beta == 7.0
    assert "_class_path" not in other.hparams  # which describes another beta


def test_a_checkpoint_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got a model of class '.*MWBVAE', expected PoEVAE or"):
        PoEVAE.load_from_checkpoint(CHECKPOINT)
    assert type(MWBVAE.load_from_checkpoint(CHECKPOINT)) is MWBVAE


def test_the_card_says_what_the_model_is_and_stays() -> None:
    tiny_model(MWBVAE).save_pretrained("saved")
    card = Path("saved/README.md")
    _, heading, text = card.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(heading)["library_name"] == "mmvae-bary"
    assert "| barycenter | SubsetMixture(WassersteinBarycenter()) |" in text
    assert "| latent size | 4 |" in text
    assert "| image | 1 × 4 × 4 |" in text
    assert 'MWBVAE.from_pretrained("FOLDER or OWNER/NAME", modalities={...})' in text
    assert "Saved with mmvae-bary 0.1.0." in text
    assert CITATION in text
    huggingface_hub.ModelCard.load(card)
    card.write_text("mine", encoding="utf-8")
    tiny_model(MWBVAE).save_pretrained("saved")
    assert card.read_text(encoding="utf-8") == "mine"


def test_the_citation_is_that_of_the_repository() -> None:
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = said["preferred-citation"]
    words = " ".join(CITATION.split())
    assert paper["title"] in words
    authors = [f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]]
    assert " and ".join(authors) in words
    assert str(paper["year"]) in words


def edited(**changes: Any) -> str:
    tiny_model(MWBVAE).save_pretrained("saved")
    path = Path("saved/config.json")
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, **changes}), encoding="utf-8")
    return "saved"


def without(name: str) -> str:
    edited()
    Path("saved", name).unlink()
    return "saved"


def holding(name: str, content: str) -> str:
    edited()
    Path("saved", name).write_text(content, encoding="utf-8")
    return "saved"


CALL = {"optimizer": {"class_path": "os.system", "init_args": {"command": "touch called"}}}
BAD = {
    "no folder": (lambda: "./no/such/folder", "got './no/such/folder', which is no folder"),
    "an empty folder": (lambda: ".", "without config.json, expected a folder of save_pretrained"),
    "no weights": (lambda: without("model.safetensors"), "without model.safetensors"),
    "damaged settings": (lambda: holding("config.json", "{"), "config.json, which is damaged"),
    "other settings": (lambda: holding("config.json", "[1]"), "config.json, which is damaged"),
    "damaged weights": (
        lambda: holding("model.safetensors", "x"),
        "safetensors, which is damaged",
    ),
    "another class": (lambda: edited(class_path="mmvae_bary.PoEVAE"), "expected MWBVAE or an"),
    "no class": (lambda: edited(class_path=3), "got a model of class 3, expected MWBVAE or an"),
    "a class that is not imported": (
        lambda: edited(class_path="antigravity.Model"),
        "got a model of class 'antigravity.Model', expected",
    ),
    "a function": (
        lambda: edited(init_args=CALL, networks_included=True),
        r"init_args.optimizer: got 'os.system', expected a class",
    ),
    "networks of Python": (lambda: edited(), r"from_pretrained\(FOLDER, modalities=...\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_loaded_is_one_line(case: str) -> None:
    make, message = BAD[case]
    given: dict[str, Any] = {"modalities": tiny_modalities()} if case == "damaged weights" else {}
    with pytest.raises(ValueError, match=message) as caught:
        MWBVAE.from_pretrained(make(), **given)
    assert "\n" not in str(caught.value)
    assert not Path("called").exists()
    assert "antigravity" not in sys.modules


def test_settings_import_no_class_in_passing() -> None:
    settings = {"_class_path": "antigravity.Model", "latent_dim": 2}
    folder = edited(init_args=settings, networks_included=True)
    with pytest.raises(ValueError, match="got settings that make no MWBVAE"):
        MWBVAE.from_pretrained(folder)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.Encoder", "No module named 'nowhere'"),
        ("torch.nn.Nowhere", "module 'torch.nn' has no attribute 'Nowhere'"),
        ("torch.optim.Adam", "torch.optim.Adam does not correspond to a subclass of Module"),
    ],
)
def test_a_network_that_is_not_installed_is_named_in_a_line(path: str, said: str) -> None:
    MWBVAE.load_from_checkpoint(CHECKPOINT).save_pretrained("saved")
    settings = json.loads(Path("saved/config.json").read_text(encoding="utf-8"))
    settings["init_args"]["modalities"]["image"]["encoder"] = {"class_path": path}
    Path("saved/config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=f"each class must be installed: .*{said}") as caught:
        MWBVAE.from_pretrained("saved")
    assert "\n" not in str(caught.value)


def test_other_networks_are_refused_in_a_line() -> None:
    tiny_model(MWBVAE).save_pretrained("saved")
    with pytest.raises(ValueError, match=r"of other networks: .*modalities.image") as caught:
        MWBVAE.from_pretrained("saved", modalities=tiny_modalities(2))
    assert "\n" not in str(caught.value)


def test_without_the_extra_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str, *rest: Any) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("mmvae_bary.pretrained.import_module", refuse)
    model = tiny_model(MWBVAE)
    for call in (
        lambda: model.save_pretrained("saved"),
        lambda: model.push_to_hub("owner/name"),
        lambda: MWBVAE.from_pretrained("saved"),
    ):
        with pytest.raises(ImportError, match=r"expected pip install 'mmvae-bary\[hub\]'"):
            call()


def test_the_library_is_imported_without_the_extra() -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = sys.modules['safetensors'] = None; "
        "import mmvae_bary"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_is_pushed_and_had_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the Hub's calls replaced by a folder."""
    hub = Path("hub").absolute()

    class Api:
        def __init__(self, token: str | None) -> None:
            assert token == "secret"

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> SimpleNamespace:
            assert private
            assert exist_ok
            return SimpleNamespace(repo_id=repo_id)

        def file_exists(self, repo_id: str, name: str) -> bool:
            return (hub / repo_id / name).exists()

        def upload_folder(
            self, *, repo_id: str, folder_path: str, commit_message: str, ignore_patterns: Any
        ) -> SimpleNamespace:
            ignored = shutil.ignore_patterns(*ignore_patterns or [])
            shutil.copytree(folder_path, hub / repo_id, ignore=ignored, dirs_exist_ok=True)
            return SimpleNamespace(commit_url=commit_message)

    def download(repo_id: str, **options: Any) -> str:
        assert options["revision"] == "main"
        return str(hub / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = tiny_model(MWBVAE)
    options: dict[str, Any] = {"private": True, "token": "secret", "commit_message": "why"}
    assert model.push_to_hub("owner/name", **options) == "why"
    card = hub / "owner" / "name" / "README.md"
    card.write_text("mine", encoding="utf-8")
    model.push_to_hub("owner/name", **options)
    assert card.read_text(encoding="utf-8") == "mine"
    modalities = tiny_modalities()
    loaded = MWBVAE.from_pretrained("owner/name", revision="main", modalities=modalities)
    assert same(model, loaded)


def test_a_repository_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise OSError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ValueError, match=r"got 'owner/name', expected .*: no network$"):
        MWBVAE.from_pretrained("owner/name")
