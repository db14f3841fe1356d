"""What models, posteriors, batches and results show of themselves in terminals and notebooks."""

from __future__ import annotations

import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from rich.progress import Progress
from torch.utils.data import DataLoader

from mmvae_bary import (
    MWBVAE,
    Batch,
    Mixture,
    Modality,
    MultimodalVAE,
    PoEVAE,
    WassersteinBarycenter,
)
from mmvae_bary.callbacks import RunProgressBar
from mmvae_bary.checks import check_precision
from mmvae_bary.distributions import diagonal_gaussian, full_gaussian
from mmvae_bary.markup import Words, html_table, span, text_table
from mmvae_bary.runs import Run
from tests.conftest import tiny_batch, tiny_inputs, tiny_model, trainer

EVIL = "<script>alert('&')</script>"


class Cells(HTMLParser):
    """The texts of a table's cells and caption, of HTML whose elements must end in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def cells(shown: Any) -> list[str]:
    html = shown._repr_html_()
    assert len(html) < 5000
    return Cells(html).texts


def test_a_printed_model_is_a_table_and_the_tree_is_one_step_away() -> None:
    model = tiny_model(MWBVAE, warmup_steps=10)
    lines = repr(model).splitlines()
    assert lines[0] == "MWBVAE"
    assert "  barycenter: SubsetMixture(WassersteinBarycenter())" in lines
    assert "  latent size: 4" in lines
    assert "  objective: ELBO, beta 1 after 10 steps of warm-up" in lines
    number = sum(p.numel() for p in model.parameters())
    assert f"  parameters: {number:,}" in lines
    assert "  image     1 × 4 × 4  Laplace(scale=0.75, fixed)  408      352" in lines
    assert max(map(len, lines)) <= 80
    assert "print(model.modalities)" in lines[-1]
    assert "Linear(in_features=16" in repr(model.modalities)


def test_a_printed_model_says_what_sets_it_apart() -> None:
    assert "ELBO plus the ELBO of each modality alone" in repr(tiny_model(PoEVAE))
    assert "latent size: 4, full covariance" in repr(tiny_model(MWBVAE, covariance="full"))

    class Own(MultimodalVAE):
        pass

    assert repr(tiny_model(Own, barycenter=WassersteinBarycenter())).startswith("Own\n")


def test_a_model_with_lazy_networks_is_printed() -> None:
    encoder = torch.nn.LazyLinear(8)
    assert Modality((6,), encoder, torch.nn.Linear(4, 6)).facts()[2:] == ["0", "30"]


def test_a_batch_shows_its_modalities() -> None:
    batch = tiny_batch()
    assert cells(batch)[0] == "Batch of 5, labels 0 to 4"
    assert "1 × 4 × 4" in cells(batch)
    present = torch.tensor([[True, False]] * 2)
    some = Batch({"a": torch.ones(2, 3), "b": torch.full((2, 3), torch.nan)}, present)
    assert cells(some)[0] == "Batch of 2, no labels"
    assert cells(some)[-10:] == ["a", "3", "float32", "1", "2", "b", "3", "float32", "–", "0"]


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_posterior_shows_what_it_is(covariance: str) -> None:
    model = tiny_model(MWBVAE, covariance=covariance)
    alone = cells(model.encode(tiny_inputs()))
    assert covariance in alone[0]
    assert alone[1:5] == ["batch", "5", "width", "4"]
    encoding = model.encode_modalities(tiny_inputs())
    joint = cells(model.barycenter(encoding.experts))
    assert joint[0].startswith("mixture of 7 ")
    assert joint[-2:] == ["weights", "0.143"]


def test_a_posterior_of_any_batch_is_shown() -> None:
    one = diagonal_gaussian(torch.zeros(2), torch.ones(2))
    assert cells(one)[1:3] == ["batch", "one"]
    none = full_gaussian(torch.zeros(0, 2), torch.ones(0, 2, 2))
    assert cells(none)[-1] == "–"
    parts = diagonal_gaussian(torch.zeros(3, 5, 2, 2), torch.ones(3, 5, 2, 2))
    assert cells(Mixture(parts, torch.tensor([0.25, 0.75])))[2] == "3 × 5"


def test_a_run_shows_the_table_that_it_ended_with() -> None:
    figures = {"probe/accuracy/image": 0.5, "coherence/image->text": 0.25}
    meta = {"model": "MWBVAE", "data": EVIL, "seed": 3, "classifier_accuracy": {}}
    config: dict[str, Any] = {"model": {"init_args": {"modalities": {"image": {}, "text": {}}}}}
    run = Run(Path(), figures, meta, config)
    parsed = Cells(run._repr_html_())
    assert parsed.texts[0] == f"MWBVAE, –, on {EVIL}, test set, seed 3"
    assert "script" not in parsed.tags
    assert parsed.texts[1:7] == ["given", "probe", "→ text", "image", "0.500", "0.250"]


def test_tables_escape_what_they_hold() -> None:
    parsed = Cells(html_table(Words([EVIL, EVIL], [[EVIL, EVIL]]), EVIL))
    assert parsed.texts == [EVIL] * 5
    assert "script" not in parsed.tags
    assert cells(Batch({EVIL: torch.zeros(1, 2)}))[6] == EVIL


def test_tables_of_text_are_aligned_and_spans_are_short() -> None:
    assert text_table(Words([], [["a", "1"], ["bbb", "2"]]), "") == "a    1\nbbb  2"
    assert span(torch.tensor([True, False])) == "0 to 1"
    assert span(torch.tensor([])) == "–"


def described(running: Trainer, text: str) -> str:
    column = RunProgressBar().configure_columns(running)[0]
    with Progress(column, disable=True) as progress:
        task = progress.add_task(text, total=3)
        return str(column.render(progress.tasks[task]))


def test_a_bar_counts_steps_where_only_these_are_limited() -> None:
    steps = trainer(max_steps=5, max_epochs=-1)
    assert described(steps, "Epoch 2/-2") == "Step 0/5"
    assert described(steps, "Validation") == "Validation"
    assert described(trainer(max_epochs=3), "Epoch 1/2") == "Epoch 1/2"


def test_a_bar_shows_no_number_of_a_folder() -> None:
    logging = Trainer(max_steps=1, accelerator="cpu", logger=CSVLogger("runs"))
    assert RunProgressBar().get_metrics(logging, tiny_model(MWBVAE)) == {}


def capable(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_half_precision_on_a_processor_without_it_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: Any = DataLoader([tiny_batch()], batch_size=None)  # type: ignore[arg-type]
    capable(monkeypatch, avx2=True, avx512_bf16=False, amx_bf16=False)
    model = tiny_model(MWBVAE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        running = trainer(max_epochs=1, precision="bf16-mixed")
        running.fit(model, batches)
        running.test(model, batches, verbose=False)
    said = [str(w.message) for w in caught if "bfloat16" in str(w.message)]
    assert said == [
        "got precision bf16-mixed on a processor that does not multiply in bfloat16, where it is "
        "10 to 80 times slower than 32-true"
    ]


@pytest.mark.parametrize(
    ("precision", "capabilities"),
    [
        ("32-true", {"avx512_bf16": False}),
        ("bf16-mixed", {"avx512_bf16": False, "amx_bf16": True}),
        ("bf16-mixed", {"neon": True}),  # torch does not say
    ],
)
def test_other_precisions_and_processors_are_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, precision: str, capabilities: dict[str, bool]
) -> None:
    capable(monkeypatch, **capabilities)
    check_precision(precision, torch.device("cpu"))
