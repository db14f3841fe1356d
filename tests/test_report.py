"""The report: its numbers, what it refuses, and what it looks like to a browser, TeX and CSV."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.stats import ttest_ind

from mmvae_bary import cli
from mmvae_bary.barycenters.subsets import powerset
from mmvae_bary.metrics.coherence import sources
from mmvae_bary.report import gather, report
from mmvae_bary.runs import by_model, read_run, remarks
from mmvae_bary.tables import holm, published, significantly_best

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DIGITS = ("image", "scene", "text")
MST = ("mnist", "svhn", "text")
POLYMNIST = ("m0", "m1", "m2", "m3", "m4")


def figures(names: Sequence[str], seed: int, measure: str = "accuracy") -> dict[str, float]:
    """All that a test measures, made up."""
    random = np.random.default_rng(seed)
    subsets = ["+".join(subset) for subset in powerset(names)]
    keys = [f"probe/{measure}/{subset}" for subset in subsets]
    for target in names:
        keys += [f"coherence/{'+'.join(subset)}->{target}" for subset in sources(names, target)]
    made = {key: float(random.uniform(0.3, 1)) for key in [*keys, "coherence/joint"]}
    made |= {f"log_likelihood/{subset}": float(random.normal(-1900, 50)) for subset in subsets}
    return made


def make_run(
    folder: Path,
    model: str = "PoEVAE",
    seed: int = 0,
    names: Sequence[str] = DIGITS,
    data: str = "DigitsDataModule",
    made: dict[str, float] | None = None,
    measure: str = "accuracy",
) -> Path:
    """A run's folder as a run leaves it, with made-up figures."""
    (folder / "samples").mkdir(parents=True)
    meta = {
        "model": model,
        "barycenter": f"Of{model}()",
        "data": data,
        "notes": [],
        "seed": seed,
        "steps": 20,
        "epochs": 2,
        "precision": "32-true",
        "device": "cpu",
        "processes": 1,
        "seconds": {"fit": 1.5, "test": 0.5},
        f"classifier_{measure}": dict.fromkeys(names, 0.97),
        "versions": {"mmvae-bary": version("mmvae-bary"), "torch": "2.6.0"},
    }
    content = figures(names, seed + len(model), measure) if made is None else made
    write(folder / "results.json", {**content, "meta": meta})
    judge = {"class_path": "mmvae_bary.CoherenceCallback", "init_args": {"gate": 0.9}}
    modalities = {name: {"shape": [1, 2, 2]} for name in names}
    config = {
        "seed_everything": seed,
        "trainer": {"max_steps": 20, "callbacks": [judge]},
        "model": {
            "class_path": f"mmvae_bary.{model}",
            "init_args": {"modalities": modalities, "beta": 2.5},
        },
        "data": {"class_path": f"mmvae_bary.{data}", "init_args": {"num_train": 100}},
        "ckpt_path": None,
    }
    text = yaml.safe_dump(config, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    log = "epoch,step,train/kl,train/loss\n0,9,1.0,30.0\n1,19,2.0,20.0\n"
    (folder / "metrics.csv").write_text(log, encoding="utf-8")
    Image.new("RGB", (30, 20), "teal").save(folder / "samples" / "prior_to_all.png")
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def change_results(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write(path, content)


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def cells() -> dict[tuple[str, str], dict[str, str]]:
    """The lines of ``tables.csv`` by key and model."""
    with Path("report/tables.csv").open(encoding="utf-8", newline="") as file:
        return {(row["key"], row["model"]): row for row in csv.DictReader(file)}


class Reader(HTMLParser):
    """Collects what a page holds, and fails where an element ends that did not begin."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"img", "meta", "source"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read_page() -> Reader:
    reader = Reader()
    reader.feed(Path("report/report.html").read_text(encoding="utf-8"))
    reader.close()
    assert not reader.open
    return reader


def test_numbers_are_those_of_numpy() -> None:
    models = ("PoEVAE", "MWBVAE")
    runs = [make_run(Path(m) / str(s), m, s, MST, "MNISTSVHNTextDataModule")
            for m, s in product(models, range(3))]  # fmt: skip
    report(runs, Path("report"), "the command")
    found = cells()
    for model in models:
        content = [
            json.loads((Path(model) / str(s) / "results.json").read_text()) for s in (0, 1, 2)
        ]
        for key in set(content[0]) - {"meta"}:
            values = np.array([run[key] for run in content])
            row = found[key, model]
            assert row["seeds"] == "3"
            assert float(row["mean"]) == pytest.approx(values.mean(), rel=1e-12)
            assert float(row["standard_deviation"]) == pytest.approx(values.std(ddof=1), rel=1e-9)
        means = [np.mean([v for k, v in run.items() if k.startswith("probe/")]) for run in content]
        row = found["probe/accuracy/mean", model]
        assert float(row["mean"]) == pytest.approx(np.mean(means), rel=1e-12)
    assert found["probe/accuracy/svhn", "MWBVAE"]["paper_mean"] == "0.83"
    assert found["coherence/svhn->mnist", "PoEVAE"]["paper_mean"] == "0.24"
    assert found["log_likelihood/mnist+svhn+text", "MWBVAE"]["paper_standard_deviation"] == "1.7"
    text = " ".join(read_page().words)
    for said in ("0.83 ± 0.01", "-1890 ± 1.7", "the command", "Linear probe", "Log-likelihood"):
        assert said in text


def test_published_numbers_agree_with_their_averages() -> None:
    """Within the rounding of the paper; its average of WB-VAE in Table 1 is off by more."""
    for data, key in (
        ("MNISTSVHNTextDataModule", "probe/accuracy"),
        ("MNISTSVHNTextDataModule", "coherence"),
        ("CelebADataModule", "probe+coherence"),
    ):
        numbers = published(data)
        kinds = tuple(f"{kind}/" for kind in key.split("+"))
        parts = [part for part in numbers if part.startswith(kinds) and "mean" not in part]
        for model, (mean, _) in numbers[f"{key}/mean"].items():
            average = np.mean([numbers[part][model][0] for part in parts])
            slack = 0.012 if (key, model) != ("probe/accuracy", "WBVAE") else 0.02
            assert mean == pytest.approx(average, abs=slack), (key, model)


def test_bold_is_for_what_is_better_than_every_other_model() -> None:
    random = np.random.default_rng(0)
    clear = {"a": random.normal(0.9, 0.01, 5), "b": random.normal(0.5, 0.01, 5)}
    close = {"a": random.normal(0.9, 0.01, 5), "b": random.normal(0.9, 0.01, 5)}
    second = {**clear, "c": clear["a"] - 0.001}
    assert significantly_best([clear, close, second]) == ["a", None, None]
    assert significantly_best([{"a": np.ones(3), "b": np.zeros(3)}]) == [None]  # no variation
    assert significantly_best([{"a": np.ones(1), "b": np.zeros(1)}]) == [None]  # one seed
    assert significantly_best([{"a": np.ones(3)}]) == [None]  # nothing to compare with
    p = ttest_ind(*(random.normal(mean, 1, 4) for mean in (0, 1.9)), equal_var=False).pvalue
    assert list(holm([p, p, 1.0])) == pytest.approx([min(3 * p, 1), min(3 * p, 1), 1.0])


def test_bold_is_shown_in_every_form() -> None:
    for model, seed in product(("PoEVAE", "MWBVAE"), range(4)):
        level = {"PoEVAE": 0.5, "MWBVAE": 0.9}[model] + 0.002 * seed
        made = dict.fromkeys(figures(DIGITS, 0), level)
        make_run(Path("runs") / f"{model}{seed}", model, seed, made=made)
    report(sorted(Path("runs").iterdir()), Path("report"), "")
    assert "<b>0.503</b>" not in Path("report/report.html").read_text(encoding="utf-8")
    assert "<b>0.903</b>" in Path("report/report.html").read_text(encoding="utf-8")
    assert "**0.903 ± 0.003**" in Path("report/report.md").read_text(encoding="utf-8")
    assert r"\textbf{0.903 $\pm$ 0.003}" in Path("report/tables.tex").read_text(encoding="utf-8")
    assert "Holm" in " ".join(read_page().words)
    assert {cell["significantly_best"] for (_, m), cell in cells().items() if m == "PoEVAE"} == {
        "False"
    }


REFUSED: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "half-written": (
        lambda _, b: (b / "results.json").unlink(),
        "b: got no results.json, expected the folder of a finished run",
    ),
    "corrupt": (
        lambda _, b: (b / "results.json").write_text('{"probe', encoding="utf-8"),
        "b/results.json: got a broken file, expected that of a finished run",
    ),
    "corrupt settings": (
        lambda _, b: (b / "config.yaml").write_text("a: [", encoding="utf-8"),
        "b/config.yaml: got a broken file, expected that of a finished run",
    ),
    "half-written settings": (
        lambda _, b: change_config(b, lambda config: config.pop("ckpt_path")),
        "b/config.yaml: got settings that are not whole, expected those of a run",
    ),
    "settings without modalities": (
        lambda _, b: change_config(b, lambda config: config["model"].pop("init_args")),
        "b/config.yaml: got settings that are not whole, expected those of a run",
    ),
    "a corrupt log": (
        lambda _, b: (b / "metrics.csv").write_text("step,train/loss\nx,1.0\n"),
        "b/metrics.csv: got a broken file, expected a log of training",
    ),
    "a log of too long rows": (
        lambda _, b: (b / "metrics.csv").write_text("step,train/loss\n1,1.0,2.0\n"),
        "b/metrics.csv: got a broken file, expected a log of training",
    ),
    "no versions": (
        lambda _, b: change_results(b, lambda results: results["meta"].update(versions="1")),
        "b/results.json: got no meta of a run, expected one",
    ),
    "no meta": (
        lambda _, b: change_results(b, lambda results: results.pop("meta")),
        "b/results.json: got no meta of a run, expected one",
    ),
    "another version": (
        lambda _, b: change_results(
            b, lambda results: results["meta"]["versions"].update({"mmvae-bary": "9.9"})
        ),
        f"b: got a run of mmvae-bary 9.9, expected {version('mmvae-bary')}",
    ),
    "the same seed": (
        lambda _, b: change_results(b, lambda results: results["meta"].update(seed=0)),
        "a and b: got PoEVAE with seed 0 twice, expected a run for each model and seed",
    ),
    "other data": (
        lambda _, b: change_config(
            b, lambda config: config["data"]["init_args"].update(num_train=50)
        ),
        "a and b: got data.init_args.num_train 100 and 50, expected the same data in all runs",
    ),
    "other notes of the data": (
        lambda _, b: change_results(b, lambda results: results["meta"].update(notes=["half"])),
        "a and b: got notes [] and ['half'], expected the same data in all runs",
    ),
    "other settings": (
        lambda _, b: change_config(b, lambda config: config["trainer"].update(max_steps=30)),
        "a and b: got trainer.max_steps 20 and 30, expected the same settings for all seeds of "
        "PoEVAE",
    ),
    "other figures": (
        lambda _, b: change_results(b, lambda results: results.pop("coherence/joint")),
        "a and b: got coherence/joint in one of them, expected the same figures",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_runs_that_are_not_comparable_are_refused_in_a_line(case: str) -> None:
    change, message = REFUSED[case]
    a, b = make_run(Path("a"), seed=0), make_run(Path("b"), seed=1)
    change(a, b)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", "a", "b"])
    assert str(stopped.value.code).partition(" (--debug")[0] == f"mmvae: error: {message}"
    assert not Path("report").exists()


def test_what_a_reader_must_know_is_named() -> None:
    runs = [make_run(Path("a"), "PoEVAE"), make_run(Path("b"), "MWBVAE")]
    change_results(runs[0], lambda results: results["meta"]["classifier_accuracy"].pop("text"))
    change_results(
        runs[1], lambda results: results["meta"]["classifier_accuracy"].update(scene=0.4)
    )
    change_results(runs[1], lambda results: results.update({"coherence/joint": float("nan")}))
    change_config(runs[1], lambda config: config["model"]["init_args"].update(beta=1.0))
    change_results(runs[1], lambda results: results["meta"].update(steps=19))
    report(runs, Path("report"), "", notes=["WBVAE seed 0 failed and is left out."])
    expected = [
        "WBVAE seed 0 failed and is left out.",
        "The runs were judged by different classifiers of 'scene': their test accuracy goes from "
        "0.4000 to 0.9700.",
        "The classifier of 'scene' has a test accuracy of 0.4000, below its gate of 0.9: "
        "coherence towards 'scene' means little.",
        "1 of 2 runs have no classifier of 'text': coherence towards 'text' was not judged in "
        "them.",
        "The models differ in more than their fusion: model.init_args.beta is 2.5 (PoEVAE), 1.0 "
        "(MWBVAE).",
        "The runs have different steps: 19, 20.",
        "MWBVAE with seed 0 has figures that are not finite: coherence/joint.",
    ]
    words = read_page().words
    assert [word for word in words if word in expected] == expected
    assert remarks(by_model([read_run(make_run(Path("c")))])) == []


def test_runs_are_compared_wherever_their_data_lie_however_saved_and_compiled_or_not() -> None:
    runs = [make_run(Path(name), seed=seed) for seed, name in enumerate("ab")]
    change_config(runs[1], lambda config: config["data"]["init_args"].update(root="elsewhere"))
    change_config(runs[1], lambda config: config.update(checkpoint={"every_n_epochs": 5}))
    compiling = {"class_path": "mmvae_bary.CompileCallback", "init_args": {"mode": "default"}}
    change_config(runs[1], lambda config: config["trainer"]["callbacks"].append(compiling))
    changed = [read_run(run) for run in runs]
    assert len(by_model(changed)) == 1
    assert remarks(by_model(changed)) == [
        "The runs have different training steps: as written, compiled."
    ]
    change_config(runs[0], lambda config: config["trainer"].update(callbacks=None))
    change_config(runs[1], lambda config: config["trainer"].update(callbacks=compiling))
    assert [len(group) for group in by_model([read_run(run) for run in runs]).values()] == [2]


def test_barycenters_of_one_class_are_models_of_their_own() -> None:
    runs = [make_run(Path("a"), "MultimodalVAE"), make_run(Path("b"), "MultimodalVAE")]
    change_results(runs[1], lambda results: results["meta"].update(barycenter="Other()"))
    models = by_model([read_run(run) for run in runs])
    assert list(models) == ["MultimodalVAE, OfMultimodalVAE()", "MultimodalVAE, Other()"]


def test_the_papers_models_come_in_its_order() -> None:
    runs = [make_run(Path(name), name) for name in ("MWBVAE", "Another", "MoEVAE", "PoEVAE")]
    assert list(by_model([read_run(run) for run in runs])) == [
        "PoEVAE",
        "MoEVAE",
        "MWBVAE",
        "Another",
    ]


def test_names_are_escaped_in_every_form() -> None:
    names = ("<script>", "a&b|c_d", "$x$")
    runs = [make_run(Path("a"), names=names), make_run(Path("b"), "MoEVAE", names=names)]
    sample = "<script>_to_a&b|c_d.png"
    Image.new("RGB", (30, 20)).save(runs[0] / "samples" / sample)
    report(runs, Path("report"), "echo '<script>'", title="<script>")
    page = read_page()
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>" in page.words
    assert any(attributes.get("alt") == "<script> → a&b|c_d" for _, attributes in page.tags)
    latex = Path("report/tables.tex").read_text(encoding="utf-8")
    assert r"\textless{}script\textgreater{}" in latex
    assert r"a\&b\textbar{}c\_d" in latex
    assert "<script>" not in latex
    markdown = Path("report/report.md").read_text(encoding="utf-8")
    assert r"\<script\>" in markdown
    assert r"a&b\|c\_d" in markdown
    assert ("probe/accuracy/<script>", "PoEVAE") in cells()


def test_the_page_needs_nothing_else() -> None:
    report([make_run(Path("a"))], Path("report"), "")
    page = read_page()
    for _, attributes in page.tags:
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/")
    style = Path("report/report.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    assert not re.search(r"url\(|@import|https?:", style)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in (
        page.tags
    )


def test_a_notebook_is_shown_the_tables_of_a_report_and_of_a_run() -> None:
    runs = [read_run(make_run(Path(f"run{seed}"), seed=seed)) for seed in range(2)]
    shown = Reader()
    shown.feed(gather(by_model(runs))._repr_html_())
    assert shown.words[0] == "Digits"
    assert "Linear probe" in shown.words
    assert "<caption>PoEVAE, OfPoEVAE(), on Digits" in runs[0]._repr_html_()


def test_latex_is_balanced_and_its_rows_are_of_one_width() -> None:
    runs = [make_run(Path(m), m, names=MST, data="MNISTSVHNTextDataModule")
            for m in ("PoEVAE", "MWBVAE")]  # fmt: skip
    report(runs, Path("report"), "")
    latex = Path("report/tables.tex").read_text(encoding="utf-8")
    bare = re.sub(r"\\[{}$&]", "", latex)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    tables = re.findall(r"\\begin\{tabular\}\{(l?r*)\}(.*?)\\end\{tabular\}", bare, re.DOTALL)
    assert len(tables) == 3
    for columns, body in tables:
        rows = re.findall(r"^(.*?) \\\\$", body, re.MULTILINE)
        assert len(rows) >= 5  # with the paper's below ours
        for row in rows:
            spans = sum(map(int, re.findall(r"\\multicolumn\{(\d+)\}", row)))
            spanned = len(re.findall(r"\\multicolumn", row))
            assert row.count("&") + 1 - spanned + spans == len(columns), row


def test_many_modalities_are_shown_by_number_of_inputs() -> None:
    for model, seed in product(("PoEVAE", "MWBVAE"), range(2)):
        make_run(Path("runs") / f"{model}{seed}", model, seed, POLYMNIST, "PolyMNISTDataModule")
    report(sorted(Path("runs").iterdir()), Path("report"), "")
    words = read_page().words
    assert "Coherence by number of inputs" in words
    assert "By number of inputs" in words
    content = [json.loads(path.read_text()) for path in sorted(Path("runs").glob("MWB*/res*"))]
    found = cells()
    for size in range(1, 5):
        values = [
            np.mean([value for key, value in run.items() if
                     key.startswith("coherence/") and "->" in key and key.count("+") == size - 1])
            for run in content
        ]  # fmt: skip
        row = found[f"coherence/mean/{size}", "MWBVAE"]
        assert float(row["mean"]) == pytest.approx(np.mean(values), rel=1e-12)
    assert ("probe/accuracy/m0+m1+m2+m3+m4", "MWBVAE") in found
    assert Path("report/figures/by_number_of_inputs.svg").is_file()


def test_distances_of_many_modalities_are_shown_by_target() -> None:
    made = figures(POLYMNIST, 0)
    made |= {f"frechet/{s}->{m}": 2.5 for m in POLYMNIST for s in ("mean", "prior", "m0+m1")}
    report([make_run(Path("a"), names=POLYMNIST, made=made)], Path("report"), "")
    words = read_page().words
    assert "Fréchet distance" in words
    assert not any("Fréchet distance by number" in word for word in words)
    assert words.count("2.50") == 10


def test_one_modality_has_no_coherence() -> None:
    made = {"probe/accuracy/image": 0.9, "log_likelihood/image": -3.0}
    report([make_run(Path("a"), names=["image"], made=made)], Path("report"), "")
    assert "Coherence" not in read_page().words


def test_two_modalities_make_one_table_like_the_papers_fourth() -> None:
    measure = "average_precision"
    names = ("image", "text")
    made = figures(names, 0, measure) | {"coherence/chance": 0.225}
    run = make_run(Path("a"), "MWBVAE", 0, names, "CelebADataModule", made, measure)
    report([run], Path("report"), "")
    words = " ".join(read_page().words)
    assert "Latent representation and generation" in words
    assert "random scores reach 0.225" in words
    row = cells()["probe+coherence/mean", "MWBVAE"]
    parts = [value for key, value in made.items() if key.startswith("probe/") or "->" in key]
    assert float(row["mean"]) == pytest.approx(np.mean(parts), rel=1e-12)
    assert row["paper_mean"] == "0.4"


def test_a_distance_is_the_better_the_lower() -> None:
    for model, seed in product(("PoEVAE", "MWBVAE"), range(4)):
        made = figures(DIGITS, seed)
        level = {"PoEVAE": 3.0, "MWBVAE": 9.0}[model] + 0.01 * seed
        made |= {f"frechet/{source}->image": level for source in ("scene", "text", "prior")}
        made |= {"mse/image->image": level, "psnr/image->image": level}
        make_run(Path("runs") / f"{model}{seed}", model, seed, made=made)
    report(sorted(Path("runs").iterdir()), Path("report"), "")
    found = cells()
    for key, best in {
        "frechet/scene->image": "PoEVAE",
        "frechet/prior->image": "PoEVAE",
        "mse/image->image": "PoEVAE",
        "psnr/image->image": "MWBVAE",
    }.items():
        marked = [model for (k, model), row in found.items() if k == key
                  and row["significantly_best"] == "True"]  # fmt: skip
        assert marked == [best], key
    words = read_page().words
    assert "Fréchet distance" in words
    assert "Reconstruction" in words


def test_attributes_and_classes_are_drawn() -> None:
    names, measure = ("image", "text"), "average_precision"
    made = figures(names, 0, measure)
    for attribute, rate in (("Bald", 0.1), ("Young", 0.8), ("Male", 0.4)):
        made[f"coherence/chance/{attribute}"] = rate
        made |= {f"{key}/{attribute}": 0.5 for key in list(made) if "->" in key or "probe" in key}
    run = make_run(Path("a"), "MWBVAE", 0, names, "CelebADataModule", made, measure)
    report([run], Path("report"), "")
    drawing = Path("report/figures/by_attribute.svg").read_text(encoding="utf-8")
    comments = re.findall(r"<!-- (.*?) -->", drawing)
    assert [word for word in comments if word in {"Bald", "Young", "Male"}][:3] == [
        "Young",
        "Male",
        "Bald",
    ]
    assert {"chance", "coherence, text → image", "probe, image+text"} <= set(comments)
    by_class = {f"coherence/mean->{name}/class_{c}": c / 10 for name in DIGITS for c in range(10)}
    run = make_run(Path("b"), made=figures(DIGITS, 0) | by_class)
    report([run], Path("report"), "")
    assert Path("report/figures/by_class.svg").is_file()
    assert "By class" in read_page().words


def test_a_continued_run_has_one_curve() -> None:
    run = make_run(Path("a"))
    earlier = run / "earlier" / "001"
    earlier.mkdir(parents=True)
    log = "epoch,step,train/kl,train/loss\n0,4,5.0,50.0\n0,9,4.0,40.0\n0,14,3.0,3"
    (earlier / "metrics.csv").write_text(log, encoding="utf-8")
    steps, values = read_run(run).curves("train/")["train/loss"]
    assert list(steps) == [4, 9, 19]
    assert list(values) == [50, 30, 20]
