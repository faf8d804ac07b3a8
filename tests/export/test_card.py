from __future__ import annotations

import base64
import dataclasses
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.conftest import make_config

from metfa.export.card import write_card
from metfa.export.card.markdown import plain, table
from metfa.export.card.page import to_page
from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import CARD, CARD_PAGE, CONTRACT, PARITY, Bundle, updating
from metfa.training.ancestry import Ancestor, InitialWeights, Origin
from metfa.training.class_shares import ClassShares, ShareEstimates
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.curves.picture import CURVES
from metfa.training.data.report import DATA, SCHEMA, Count, DataReport, DomainReport, GroupKind
from metfa.training.evaluation.scores import Scores
from metfa.training.outcome import EVALUATION, CandidateScores, Compared, Evaluation
from metfa.training.selection.between import Judged
from metfa.training.selection.validators import Validators
from metfa.training.settings import settable_fields
from metfa.training.verdict import Verdict

from .networks import LABELS

if TYPE_CHECKING:
    from pathlib import Path


class Page(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"href", "onclick"} & {name for name, _ in attrs}, "nothing from outside, nothing that runs"
        assert all((value or "").startswith("data:image/png;base64,") for name, value in attrs if name == "src")
        self.pictures += [value for name, value in attrs if name == "src" and value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def confusion(right: int, wrong: int) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(right if row == column else wrong for column in range(len(LABELS))) for row in range(len(LABELS))
    )


VALIDATORS = Validators(0.95, 0.01, 0.7, 0.71, 1.2, 0.5, -0.3, 2.0, 0.99)

EVALUATED = Evaluation(
    method="metfa-v",
    source=Scores(45, 0.9, 0.901, 0.902, 0.903, confusion(9, 0)),
    source_as_exported=Scores(45, 0.8, 0.801, 0.802, 0.803, confusion(9, 0)),
    target=Scores(50, 0.6, 0.611, 0.622, 0.633, confusion(6, 1)),
    selected_step=400,
    candidates=(CandidateScores(400, VALIDATORS, 0.91, 0.61),),
    compared=(
        Compared(
            Judged("metfa-v", 0.95, 90, 0.87, 100, VALIDATORS),
            400,
            Scores(50, 0.6, 0.611, 0.622, 0.633, confusion(6, 1)),
        ),
    ),
    diverged={},
    class_shares=ClassShares(
        dict.fromkeys(LABELS, 1 / len(LABELS)),
        ShareEstimates("metfa-v", 40, dict.fromkeys(LABELS, 0.123), dict.fromkeys(LABELS, 0.234)),
        ShareEstimates("metfa-v", 400, dict.fromkeys(LABELS, 0.345), dict.fromkeys(LABELS, 0.456)),
        dict.fromkeys(LABELS, 0.567),
    ),
    verdict=Verdict(None, "Nothing speaks against the adapted model."),
)


def add(directory: Path, name: str, text: str) -> None:
    with updating(directory, keep=lambda _: True) as stage:
        (stage / name).write_text(text, encoding="utf-8")


def test_an_export_leaves_a_card_of_what_it_did(exported: Path, printed: str) -> None:
    assert f"wrote {CARD} and {CARD_PAGE}" in printed
    bundle = Bundle.open(exported)
    text = bundle.read(CARD).decode()
    assert "| model.fp16.onnx | ONNX Runtime on the CPU |" in text
    for name, digest in bundle.files.items():
        assert (digest in text) == (name not in {CARD, CARD_PAGE})


def test_what_was_not_recorded_is_shown_as_not_recorded(trained: Path) -> None:
    write_card(Bundle.open(trained))
    text = (trained / CARD).read_text(encoding="utf-8")
    for name in (CONFIG, CURVES, EVALUATION, PARITY):
        assert f"*Not recorded: this bundle holds no `{name}`.*" in text


def test_scores_are_those_of_the_record(trained: Path) -> None:
    add(trained, EVALUATION, records.to_json(EVALUATED))
    write_card(Bundle.open(trained))
    text = (trained / CARD).read_text(encoding="utf-8")
    assert "| target | 50 | 0.611 | 0.622 | 0.633 | 0.600 |" in text
    assert "| 400 | 95.0% | 0.710 | 0.700 | 1.200 | 0.990 | 0.910 | 0.610 |" in text
    assert "| 400 | 0.950 | 0.870 | 95.0% | 0.710 | 0.990 |" in text
    assert "Nothing speaks against the adapted model." in text
    assert "| Femur | 20.0% | 12.3% | 23.4% | 34.5% | 45.6% | 56.7% |" in text
    assert "| Femur | 10 | 0.600 | 0.600 | 0.600 |" in text  # 6 of 10 right, and 6 of the 10 called so


def test_initial_weights_are_named_with_their_licence(trained: Path) -> None:
    initial = InitialWeights("SonoNet16.npz", "0123abcd", "SonoNet-16 (Baumgartner et al.)", "Apache-2.0")
    known = dataclasses.replace(make_config(), initial_weights=initial, freeze_encoder=True)
    unknown = dataclasses.replace(make_config(), initial_weights=dataclasses.replace(initial, licence=None))
    shown = {
        "random": make_config(),
        "SonoNet-16 (Baumgartner et al.); licence Apache-2.0; SHA-256 0123abcd; the encoder kept them": known,
        "its licence is not stated; SHA-256 0123abcd; trained further": unknown,
    }
    for text, config in shown.items():
        add(trained, CONFIG, records.to_json(config))
        write_card(Bundle.open(trained))
        assert plain(text) in (trained / CARD).read_text(encoding="utf-8")


def test_a_run_without_images_of_the_source_names_what_it_began_with(trained: Path) -> None:
    chain = (Ancestor("source-only", "A", None, "0123abcd"), Ancestor("metfa-vi", "A", "B", "4567cdef"))
    initial = InitialWeights("SonoNet16.npz", "89ab", "SonoNet-16", "Apache-2.0")
    config = dataclasses.replace(
        make_config(), origin=Origin("runs/B", chain), initial_weights=initial, source_first=0.0
    )
    add(trained, CONFIG, records.to_json(config))
    write_card(Bundle.open(trained))
    text = (trained / CARD).read_text(encoding="utf-8")
    began = "those of the last bundle below; trained further; the first began with SonoNet-16; licence Apache-2.0"
    assert plain(began) in text
    assert plain("source-only, source A, target none, weights of SHA-256 0123abcd") in text
    assert f"2 drawn embeddings of each of {len(LABELS)} classes" in text


def test_every_setting_of_the_run_is_listed(trained: Path) -> None:
    add(trained, CONFIG, records.to_json(dataclasses.replace(make_config(), seed=321, threads=None)))
    write_card(Bundle.open(trained))
    text = (trained / CARD).read_text(encoding="utf-8")
    for each in settable_fields(TrainingConfig):
        assert f"- **{each.setting.name}**: " in text
    for line in ("seed**: 321", "balance**: yes", "source-roi**: all of it", "noise**: 0.1", "threads**: as many as"):
        assert f"- **{line}" in text


def test_a_target_without_labels_has_no_scores(trained: Path) -> None:
    add(trained, EVALUATION, records.to_json(dataclasses.replace(EVALUATED, target=None)))
    write_card(Bundle.open(trained))
    text = (trained / CARD).read_text(encoding="utf-8")
    assert "| target | no labels |  |  |  |  |" in text
    assert "Class by class, on the source" in text


def test_the_curves_of_the_run_are_a_part_of_the_page(trained: Path) -> None:
    picture = b"\x89PNG stands for a picture"
    with updating(trained, keep=lambda _: True) as stage:
        (stage / CURVES).write_bytes(picture)
    write_card(Bundle.open(trained))
    assert f"]({CURVES})" in (trained / CARD).read_text(encoding="utf-8")
    (shown,) = Page((trained / CARD_PAGE).read_text(encoding="utf-8")).pictures
    assert base64.b64decode(shown.partition(",")[2]) == picture


def test_names_that_users_give_cannot_break_the_page(trained: Path) -> None:
    hostile = ("<script>alert(1)</script>", "a|b", "*x* [y](http://example.org)", "`code`", "Ünï & <b>")
    before = Bundle.open(trained).contract
    decision = dataclasses.replace(before.decision, background=())
    contract = dataclasses.replace(before, labels=hostile, decision=decision)
    add(trained, CONTRACT, contract.to_json())
    add(trained, EVALUATION, records.to_json(EVALUATED))
    write_card(Bundle.open(trained))
    page = Page((trained / CARD_PAGE).read_text(encoding="utf-8"))
    assert not {"script", "a", "b"} & page.tags
    shown = "".join(page.texts)
    for label in hostile:
        assert label in shown


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1))
def test_any_text_is_shown_as_it_is(text: str) -> None:
    page = Page(to_page("card", table(("name", "number"), [("x" + text + "x", "1")]), {}))
    assert "x" + text + "x" in "".join(page.texts)


def test_a_text_of_several_lines_is_one() -> None:
    assert plain("a\n b\u2028c") == "a b c"


@pytest.mark.parametrize("other", ["{}", "[]", "no json"])
def test_a_record_of_another_version_is_said_to_be_one(trained: Path, other: str) -> None:
    add(trained, EVALUATION, other)
    write_card(Bundle.open(trained))
    assert "*`evaluation.json` is not of this version of metfa: " in (trained / CARD).read_text(encoding="utf-8")


def test_an_edited_record_is_said_to_be_edited(trained: Path) -> None:
    add(trained, EVALUATION, records.to_json(EVALUATED))
    (trained / EVALUATION).write_text("{}")
    write_card(Bundle.open(trained))
    assert "as it was written" in (trained / CARD).read_text(encoding="utf-8")


def test_the_data_are_counted_by_class_and_split(trained: Path) -> None:
    splits = {"train": Count(30, 7), "val": Count(4, 2), "test": Count(6, 3)}
    groups: dict[GroupKind, int] = {"patient": 11, "single": 1}
    source = DomainReport(
        {"Femur": splits},
        groups,
        1,
        recordings_divided=False,
        patients_unknown=False,
        skipped={"truncated | file": 2},
    )
    target = dataclasses.replace(source, patients_unknown=True)
    add(trained, DATA, records.to_json(DataReport(SCHEMA, source, target, labelled={"Femur": 3})))
    write_card(Bundle.open(trained))
    text = (trained / CARD).read_text(encoding="utf-8")
    assert text.count("No patient is named: held-out images may be of patients that were trained on") == 1
    assert text.count(f"| Femur | {plain('30 (7)')} | {plain('4 (2)')} | {plain('6 (3)')} |") == 2
    assert text.count("12 groups: 11 patients, 1 single image") == 2
    assert "Skipped 2: truncated \\| file." in text
