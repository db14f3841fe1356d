"""The model: encoding once, absence, generation, and errors that name what came."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from mmvae_bary import (
    MWBVAE,
    WBVAE,
    Batch,
    Mixture,
    Modality,
    MoEVAE,
    MoPoEVAE,
    MultimodalVAE,
    PoEVAE,
    WassersteinBarycenter,
)
from mmvae_bary.distributions import standard_gaussian
from mmvae_bary.divergences import kl
from mmvae_bary.likelihoods import Laplace, Normal
from mmvae_bary.networks import MLPDecoder, MLPEncoder
from mmvae_bary.objectives import ELBO
from tests.conftest import (
    LATENT_DIM,
    PRESETS,
    SHAPES,
    Batches,
    tiny_batch,
    tiny_inputs,
    tiny_modalities,
    tiny_model,
    trainer,
)

presets = pytest.mark.parametrize("preset", PRESETS)


def loss(model: MultimodalVAE, batch: Batch) -> torch.Tensor:
    return model._step(batch)[0].loss


@presets
@pytest.mark.parametrize("private_dim", [0, 2])
def test_every_parameter_gets_a_gradient(preset: type[MultimodalVAE], private_dim: int) -> None:
    model = tiny_model(preset, private_dim)
    loss(model, tiny_batch(64)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@presets
def test_a_few_steps_lower_the_loss(preset: type[MultimodalVAE]) -> None:
    model, batch = tiny_model(preset), tiny_batch(64)
    optimizer = model.configure_optimizers()
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(model, batch)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < sum(losses[:5])


@presets
def test_each_modality_is_encoded_once_a_step(preset: type[MultimodalVAE]) -> None:
    model = tiny_model(preset)
    calls = []
    for modality in model.modalities.values():
        modality.encoder.register_forward_hook(lambda *_: calls.append(1))
    loss(model, tiny_batch())
    assert len(calls) == 3


@presets
def test_posterior_given_each_subset(preset: type[MultimodalVAE]) -> None:
    model, inputs = tiny_model(preset), tiny_inputs()
    together = model.conditionals(model.encode_modalities(inputs))
    assert together.batch_shape == (7, 5)
    for row, subset in enumerate(model.subsets):
        alone = model.encode(inputs, subset)
        assert isinstance(alone, Mixture) == (preset is MoEVAE)
        torch.testing.assert_close(alone.mean, together.mean[row])
        only = model.encode({name: inputs[name] for name in subset})
        torch.testing.assert_close(only.mean, alone.mean)


def test_joint_posteriors_of_the_mixtures_are_mixtures() -> None:
    sizes = {MoEVAE: 3, MoPoEVAE: 7, MWBVAE: 7}
    for preset, size in sizes.items():
        model = tiny_model(preset)
        encoding = model.encode_modalities(tiny_inputs())
        joint = model.barycenter(encoding.experts, encoding.weights)
        assert isinstance(joint, Mixture)
        assert joint.weights.shape == (5, size)


@presets
@pytest.mark.parametrize("private_dim", [0, 2])
def test_absent_values_do_not_matter(preset: type[MultimodalVAE], private_dim: int) -> None:
    """Neither loss nor gradients depend on what is stored where a modality is missing."""
    model, inputs = tiny_model(preset, private_dim), tiny_inputs(6)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]) > 0
    results = []
    for fill in (0.0, 7.0, torch.nan):
        filled = {
            name: torch.where(present[:, m].reshape(-1, *[1] * (x.ndim - 1)), x, fill)
            for m, (name, x) in enumerate(inputs.items())
        }
        torch.manual_seed(1)
        model.zero_grad()
        value = loss(model, Batch(filled, present))
        value.backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append([value.detach(), *gradients])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@presets
def test_all_present_equals_no_mask(preset: type[MultimodalVAE]) -> None:
    model, batch = tiny_model(preset), tiny_batch()
    torch.manual_seed(1)
    without = loss(model, batch)
    torch.manual_seed(1)
    masked = loss(model, Batch(batch.inputs, torch.ones(5, 3, dtype=torch.bool)))
    torch.testing.assert_close(masked, without)


def test_a_batch_without_one_modality_trains_the_others() -> None:
    for preset in PRESETS:
        inputs = tiny_inputs()
        del inputs["code"]
        model = tiny_model(preset)
        loss(model, Batch(inputs)).backward()
        code = model.modalities["code"]
        assert all(p.grad is None or not p.grad.any() for p in code.parameters())


def test_poe_adds_unimodal_bounds() -> None:
    """Each from its own modality's latent: here posteriors are points and decoders are steep."""
    model = tiny_model(PoEVAE, beta=2.0)
    with torch.no_grad():
        for modality in model.modalities.values():
            list(modality.encoder.parameters())[-1][LATENT_DIM:] -= 40
            next(modality.decoder.parameters()).mul_(5)
    batch = tiny_batch(50)
    encoding = model.encode_modalities(batch.inputs)
    extra = model.elbo(batch, encoding).loss - MultimodalVAE.elbo(model, batch, encoding).loss
    expected = torch.zeros(())
    for name, x in batch.inputs.items():
        q = model.encode({name: x})
        nll = -model.decode_modality(name, q.mean).log_prob(x)
        expected = expected + (nll + 2.0 * kl(q, standard_gaussian(q))).mean()
    torch.testing.assert_close(extra, expected, rtol=1e-4, atol=1e-3)


def test_generation() -> None:
    model, inputs = tiny_model(MWBVAE, 2), tiny_inputs()
    given = model.generate(inputs, given=["image"], targets=["text", "code"], num_samples=3)
    assert {name: x.shape for name, x in given.items()} == {
        "text": (3, 5, 5, 7),
        "code": (3, 5, 6),
    }
    prior = model.generate(num_samples=4)
    assert {name: x.shape for name, x in prior.items()} == {
        name: (4, *shape) for name, shape in SHAPES.items()
    }
    torch.testing.assert_close(prior["text"].sum(-1), torch.ones(4, 5))
    assert not prior["text"].requires_grad


def test_private_latents_are_drawn_anew_for_each_modality() -> None:
    model = tiny_model(MWBVAE, 2)
    z = torch.zeros(3, LATENT_DIM)
    first, second = model.decode(z)["image"].mean, model.decode(z)["image"].mean
    assert not torch.equal(first, second)
    private = {"image": torch.zeros(3, 2)}
    same = [model.decode(z, private)["image"].mean for _ in range(2)]
    assert torch.equal(*same)


def test_reconstruction_weights() -> None:
    assert tiny_model(MWBVAE).reconstruction_weights == {"image": 1.0, "code": 16 / 6, "text": 3.2}
    weights = {"image": 1.0, "code": 2.0, "text": 0.0}
    assert tiny_model(MWBVAE, reconstruction_weights=weights).reconstruction_weights == weights


def test_warmup_raises_beta_linearly() -> None:
    model, used = tiny_model(MWBVAE, beta=2.0, warmup_steps=4), list[float]()

    class Betas(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            used.append(model.current_beta)

    assert model.current_beta == 2.0  # of a loop of one's own
    trainer(Betas(), max_epochs=6).fit(model, Batches(), Batches())
    assert used == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    model.warmth = 0.5
    assert model.eval().current_beta == 2.0


def test_a_training_step_of_ones_own_is_warmed_up() -> None:
    used = []

    class Own(MWBVAE):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            used.append(self.current_beta)
            return self(batch).loss  # type: ignore[no-any-return]

    model = Own(tiny_modalities(), LATENT_DIM, warmup_steps=2)
    trainer(max_epochs=3).fit(model, Batches(), Batches())
    assert used == [0.0, 0.5, 1.0]


class Stop(Callback):
    """Stops training after a step; looks at the loss after each."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, model: MultimodalVAE, outputs: dict[str, Tensor], *_: Any
    ) -> None:
        assert trainer.callback_metrics["train/loss"] == outputs["loss"]
        trainer.should_stop = trainer.global_step == self.step


@pytest.mark.parametrize(
    ("every", "stop", "steps", "logged", "written"),
    [
        (3, None, 14, [1, 3, 6, 7, 9, 12, 14], [3, 6, 9, 12]),
        (7, 4, 14, [1, 4], [4]),
        (0, None, 14, [1, 7, 14], []),
        (0, None, 10, [1, 7, 10], []),
    ],
)
def test_terms_are_logged_where_they_are_written_or_looked_for(
    every: int,
    stop: int | None,
    steps: int,
    logged: list[int],
    written: list[int],
    tmp_path: Path,
) -> None:
    given: dict[int, ELBO] = {}

    class Recording(MWBVAE):
        def _log_terms(self, stage: str, terms: ELBO, batch: Batch) -> None:
            if stage == "train":
                given[self.global_step] = terms
            super()._log_terms(stage, terms, batch)

    run = Trainer(
        max_steps=steps, log_every_n_steps=every, logger=CSVLogger(tmp_path), accelerator="cpu",
        callbacks=[Stop(stop)], num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    run.fit(Recording(tiny_modalities(), LATENT_DIM), Batches(7), Batches())
    assert list(given) == logged
    path = Path(run.log_dir or "") / "metrics.csv"
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines())) if path.is_file() else []
    kept = {
        "train/kl": {step: x.kl.item() for step, x in given.items()},
        "train/reconstruction/image": {
            step: x.log_likelihood["image"].item() for step, x in given.items()
        },
    }
    for key, values in kept.items():
        found = {int(row["step"]) + 1: float(row[key]) for row in rows if row.get(key)}
        assert found == pytest.approx({step: values[step] for step in written})
        assert run.callback_metrics[key].item() == values[logged[-1]]


def test_fusion_is_in_float32_under_autocast() -> None:
    model = tiny_model(MWBVAE)
    with torch.autocast("cpu", torch.bfloat16):
        encoding = model.encode_modalities(tiny_inputs())
        posterior = model.barycenter(encoding.experts)
        assert encoding.experts.mean.dtype == posterior.mean.dtype == torch.float32
        assert loss(model, tiny_batch()).dtype == torch.float32


def build(**arguments: Any) -> Callable[[], MultimodalVAE]:
    return lambda: tiny_model(MWBVAE, **arguments)


def build_with(**networks: nn.Module) -> Callable[[], MultimodalVAE]:
    parts = {
        "encoder": MLPEncoder((6,), LATENT_DIM),
        "decoder": MLPDecoder(LATENT_DIM, (6,)),
        **networks,
    }
    return lambda: MWBVAE({"code": Modality((6,), likelihood=Laplace(), **parts)}, LATENT_DIM)  # type: ignore[arg-type]


BAD_MODELS: dict[str, tuple[Callable[[], MultimodalVAE], str]] = {
    "encoder too wide": (
        build_with(encoder=MLPEncoder((6,), 5)),
        r"modality 'code': the encoder returned shape \(2, 10\) for a batch of 2, "
        r"expected \(2, 8\)",
    ),
    "encoder that cannot take the shape": (
        build_with(encoder=MLPEncoder((7,), 4)),
        r"modality 'code': the encoder cannot take an input of shape \(2, 6\): .*mat1 and mat2",
    ),
    "decoder of another width": (
        build_with(decoder=MLPDecoder(5, (6,))),
        r"modality 'code': the decoder cannot take an input of shape \(2, 4\)",
    ),
    "decoder of another shape": (
        build_with(decoder=MLPDecoder(4, (7,))),
        r"modality 'code': the decoder returned shape \(2, 7\) for a batch of 2, 4 latents "
        r"\(4 shared \+ 0 private\), expected \(2, 6\)",
    ),
    "no modalities": (lambda: MWBVAE({}, 4), "got no modalities, expected at least one"),
    "a name with a separator": (
        lambda: MWBVAE({"a+b": tiny_modalities()["code"]}, 4),
        r"got the modality name 'a\+b', expected one without",
    ),
    "a name that torch has taken": (
        lambda: MWBVAE({"type": tiny_modalities()["code"]}, 4),
        "got the modality name 'type'",
    ),
    "a name that a mean has taken": (
        lambda: MWBVAE({"mean": tiny_modalities()["code"]}, 4),
        "got the modality name 'mean'",
    ),
    "a network that returns a tuple": (
        build_with(encoder=nn.LSTM(6, 8)),
        "modality 'code': the encoder returned a tuple, expected a tensor",
    ),
    "a negative beta": (build(beta=-1.0), "got beta=-1.0, expected a finite number"),
    "no latent": (lambda: MWBVAE(tiny_modalities(), 0), "got latent_dim=0, expected at least 1"),
    "a negative warm-up": (build(warmup_steps=-1), "got warmup_steps=-1, expected at least 0"),
    "a negative private width": (
        lambda: MWBVAE(tiny_modalities(-1), 4),
        "got private_dim=-1, expected at least 0",
    ),
    "no barycenter": (
        lambda: tiny_model(),
        "MultimodalVAE has no barycenter of its own: got barycenter=None",
    ),
    "a missing reconstruction weight": (
        build(reconstruction_weights={"image": 1.0}),
        r"reconstruction_weights: got \{'image': 1.0\}, expected 'size' or a number for each of",
    ),
    "a negative reconstruction weight": (
        build(reconstruction_weights={"image": 1.0, "code": -1.0, "text": 1.0}),
        "expected finite numbers, none negative",
    ),
    "all reconstruction weights zero": (
        build(reconstruction_weights=dict.fromkeys(SHAPES, 0.0)),
        "at least one above zero",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models(case: str) -> None:
    make, message = BAD_MODELS[case]
    with pytest.raises(ValueError, match=message):
        make()


def transposed() -> dict[str, torch.Tensor]:
    return {**tiny_inputs(), "text": tiny_inputs()["text"].mT}


def ragged() -> dict[str, torch.Tensor]:
    return {**tiny_inputs(), "code": torch.zeros(4, 6)}


BAD_CALLS: dict[str, tuple[Callable[[MultimodalVAE], object], str]] = {
    "unknown modality in given": (
        lambda model: model.encode(tiny_inputs(), ["image", "sound"]),
        r"given: got unknown modality 'sound', expected names from \['image', 'code', 'text'\]",
    ),
    "given that is not among the inputs": (
        lambda model: model.encode({"image": torch.zeros(2, 1, 4, 4)}, ["text"]),
        r"given: \['text'\] not among the inputs, which are \['image'\]",
    ),
    "given as one string": (
        lambda model: model.encode(tiny_inputs(), "image"),
        "got given='image', expected a sequence of names",
    ),
    "nothing given": (
        lambda model: model.encode(tiny_inputs(), []),
        "got no modality, expected at least one of",
    ),
    "unknown input": (
        lambda model: model.encode({"sound": torch.zeros(2, 3)}),
        "inputs: got unknown modality 'sound'",
    ),
    "unknown target": (
        lambda model: model.generate(tiny_inputs(), targets=["sound"]),
        "targets: got unknown modality 'sound'",
    ),
    "given without inputs": (
        lambda model: model.generate(given=["image"]),
        r"got given=\['image'\] without inputs, expected both",
    ),
    "wrong shape": (
        lambda model: model.encode(transposed()),
        r"modality 'text': got a tensor of shape \(5, 7, 5\), expected \(B, 5, 7\)",
    ),
    "different batch sizes": (
        lambda model: model.encode(ragged()),
        "got batches of different sizes, { *'image': 5, 'code': 4, 'text': 5} *, expected one",
    ),
    "present of a wrong shape": (
        lambda model: loss(model, Batch(tiny_inputs(), torch.ones(5, 2, dtype=torch.bool))),
        r"present: got torch.bool of shape \(5, 2\), expected torch.bool of shape \(5, 3\)",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls(case: str) -> None:
    call, message = BAD_CALLS[case]
    with pytest.raises(ValueError, match=message):
        call(tiny_model(MWBVAE))


def test_construction_leaves_the_networks_modes_alone() -> None:
    encoder = nn.Sequential(nn.Dropout(0.5), MLPEncoder((6,), LATENT_DIM))
    encoder[0].eval()
    code = Modality((6,), encoder, MLPDecoder(LATENT_DIM, (6,)), Laplace())
    MWBVAE({"code": code}, LATENT_DIM)
    assert (encoder.training, encoder[0].training, encoder[1].training) == (True, False, True)


def test_latents_of_any_batch_shape_and_width_of_numbers() -> None:
    model = tiny_model(MWBVAE, 2).double()
    assert model.decode(torch.zeros(LATENT_DIM).double())["text"].mean.shape == (5, 7)
    assert model.generate(num_samples=2)["code"].dtype == torch.float64


def test_given_barycenter_replaces_the_preset_s() -> None:
    model = tiny_model(MoEVAE, barycenter=WassersteinBarycenter())
    assert isinstance(model.barycenter, WassersteinBarycenter)


def test_variances_stay_finite() -> None:
    """Whatever an encoder says, so that one wild sample does not end a run in NaN."""
    encoder = nn.Linear(6, 2 * LATENT_DIM)
    nn.init.constant_(encoder.weight, 1e3)
    modality = Modality((6,), encoder, MLPDecoder(LATENT_DIM, (6,), hidden=[4]), Normal(0.5))
    model = MWBVAE({"code": modality}, LATENT_DIM)
    inputs = {"code": torch.cat([torch.ones(1, 6), -torch.ones(1, 6)])}
    terms = model.elbo(Batch(inputs), model.encode_modalities(inputs))
    assert terms.kl.isfinite()
    assert model.encode(inputs).stddev[1].min() > 0


@pytest.mark.parametrize("cls", [PoEVAE, MoEVAE, MoPoEVAE, WBVAE, MWBVAE])
def test_full_covariances_train_and_start_at_the_diagonal(cls: type[MultimodalVAE]) -> None:
    torch.manual_seed(1)
    model = tiny_model(cls, private_dim=2, covariance="full")
    torch.manual_seed(1)
    diagonal = tiny_model(cls, private_dim=2)
    diagonal.load_state_dict(model.state_dict(), strict=False)
    batch = tiny_batch()
    full, plain = (m.encode(batch.inputs) for m in (model, diagonal))
    torch.testing.assert_close(full.mean, plain.mean, rtol=1e-4, atol=1e-5)
    model.elbo(batch, model.encode_modalities(batch.inputs)).loss.backward()
    for name, head in model.covariance_heads.items():
        gradients = [parameter.grad for parameter in head.parameters()]
        assert all(g is not None and g.abs().sum() > 0 for g in gradients), name
    assert model.generate(batch.inputs, ["image"])["text"].shape == (1, 5, 5, 7)
    with pytest.raises(ValueError, match="got covariance='round', expected one of"):
        tiny_model(cls, covariance="round")


def test_asking_a_model_in_training_mode_changes_nothing() -> None:
    """As after a fit: batches would be normalised by themselves, and what is learned moved."""
    model = tiny_model(MWBVAE)
    norm = nn.BatchNorm1d(6)
    model.modalities["code"].encoder.insert(0, norm)  # type: ignore[operator]
    inputs, z = tiny_inputs(), torch.randn(5, LATENT_DIM)
    first = model.train().encode(inputs).mean
    model.generate(inputs)
    model.log_likelihood(inputs, num_samples=2)
    model.decode(z)
    assert model.training
    assert norm.training
    assert norm.num_batches_tracked == 0
    assert torch.equal(first, model.eval().encode(inputs).mean)


def test_what_samples_lack_may_be_masked_or_nan_or_left_out() -> None:
    """In tensors, in arrays of any width, and in a batch."""
    model, inputs = tiny_model(MWBVAE), tiny_inputs()
    present = torch.ones(5, 3, dtype=torch.bool)
    present[0, 1] = present[3, 0] = False
    nan = {name: x.double().numpy().copy() for name, x in inputs.items()}
    nan["code"][0] = nan["image"][3] = np.nan
    expected = model.embed(Batch(inputs, present)).mean
    for given in (Batch(inputs, present), nan):
        torch.testing.assert_close(model.encode(given).mean, expected)
        torch.testing.assert_close(model.embed(given).mean, expected)
    alone = model.encode({name: x[:1] for name, x in inputs.items() if name != "code"}).mean
    torch.testing.assert_close(alone, expected[:1])
    image = model.encode(nan, given=["image"])
    assert torch.equal(image.mean[3], torch.zeros(LATENT_DIM))  # the prior
    assert torch.equal(image.stddev[3], torch.ones(LATENT_DIM))
    assert model.generate(nan, given=["image"], targets=["code"])["code"].isfinite().all()


def test_log_likelihood_is_of_what_a_sample_has() -> None:
    model, inputs = tiny_model(MWBVAE, private_dim=2), tiny_inputs()
    present = torch.ones(5, 3, dtype=torch.bool)
    present[:, 1] = False
    torch.manual_seed(3)
    masked = model.log_likelihood(Batch(inputs, present), given=[], num_samples=1)
    torch.manual_seed(3)
    z, latents = torch.randn(1, 1, 5, LATENT_DIM), {}
    for name in model.names:
        latents[name] = torch.randn(1, 1, 5, 2)
    decoded = model.decode(z, latents)
    expected = sum(decoded[name].log_prob(inputs[name]) for name in ("image", "text"))
    torch.testing.assert_close(masked, expected[0, 0])  # type: ignore[index]


def test_a_schedule_takes_a_step_after_each_epoch() -> None:
    model = tiny_model(
        MWBVAE, scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=1, gamma=0.5)
    )
    fitting = trainer(max_epochs=3)
    fitting.fit(model, Batches(), Batches())
    assert fitting.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 / 8)


def test_a_checkpoint_keeps_the_numbers_of_a_model_made_in_python() -> None:
    weights = {"image": 1.0, "code": 2.0, "text": 3.0}
    model = tiny_model(MWBVAE, beta=7.0, warmup_steps=3, reconstruction_weights=weights)
    fitting = trainer(max_steps=1)
    fitting.fit(model, Batches(), Batches())
    fitting.save_checkpoint("a.ckpt")
    again = MWBVAE.load_from_checkpoint("a.ckpt", modalities=tiny_modalities())
    assert (again.beta, again.warmup_steps, again.latent_dim) == (7.0, 3, LATENT_DIM)
    assert again.reconstruction_weights == weights
    with pytest.warns(UserWarning, match=r"got the barycenter Wasser.* trained with SubsetMix"):
        WBVAE.load_from_checkpoint("a.ckpt", modalities=tiny_modalities())


def test_float64_trains_and_half_alone_is_refused() -> None:
    model = tiny_model(MWBVAE)
    trainer(max_steps=2, precision="64-true").fit(model, Batches(), Batches())
    assert model.encode(tiny_inputs()).mean.dtype == torch.float64
    with pytest.raises(ValueError, match=r"got precision bf16-true, .* expected 32-true, 64-true"):
        trainer(max_steps=1, precision="bf16-true").fit(tiny_model(MWBVAE), Batches(), Batches())


def test_many_modalities_are_asked_for_some_subsets() -> None:
    """Each alone, all but one, and all: not 8,191, whose figures nobody reads."""
    made = {f"m{m}": Modality((2,)) for m in range(13)}
    model = PoEVAE(made, 2).eval()
    inputs = {name: torch.randn(4, 2) for name in made}
    assert len(model.subsets) == 27
    conditionals = model.conditionals(model.encode_modalities(inputs))
    for row in (0, 12, 13, 25, 26):
        expected = model.encode(inputs, model.subsets[row]).mean
        torch.testing.assert_close(conditionals.mean[row], expected)
    assert model.log_weights(inputs, model.encode_modalities(inputs), 2).shape == (2, 27, 14, 4)
