import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from random import Random

import pytest

from elysia_chat.chains.prompt import cited_numbers
from elysia_chat.chains.refusal import is_refusal
from elysia_chat.training.dataset.build import build_dataset
from elysia_chat.training.dataset.checks import check_splits, supported
from elysia_chat.training.dataset.compose import evidence
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.dataset.lexicon import KINDS, en_number, template_file, value, zh_number
from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.scenes import fill_scene, put, scenes, sentence_of
from elysia_chat.training.dataset.voice import split
from elysia_chat.training.dataset.world import attributes
from elysia_chat.training.errors import DatasetError
from elysia_chat.training.tokens import read_examples

REFUSING = {
    "refusal", "scene_refusal", "reading_refusal", "lore_refusal", "lost_refusal", "follow_up_refusal", "empty",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Example], list[Example], Path]:
    folder = tmp_path_factory.mktemp("data")
    result = build_dataset("elysia", folder, size=2500, test_share=0.05)
    assert result.report.clean, result.report
    return list(read_examples(folder / "train.jsonl")), list(read_examples(folder / "test.jsonl")), folder


def test_the_answer_stands_in_the_passage_that_it_names(built: tuple[list[Example], list[Example], Path]) -> None:
    answerable = [item for item in built[0] if item.source]
    assert len(answerable) > 1000
    for item in answerable:
        assert supported(item)
        assert cited_numbers(item.answer) == [item.source]
        block = item.messages[-1]["content"].partition(f"[{item.source}] ")[2].partition(f"\n[{item.source + 1}] ")[0]
        assert any(word.casefold() in block.casefold() for word in item.expected), (item.expected, block)


def test_refusals_are_recognised_and_name_no_passage(built: tuple[list[Example], list[Example], Path]) -> None:
    for item in built[0]:
        if item.kind in REFUSING:
            assert is_refusal(item.answer), item.answer
            assert not cited_numbers(item.answer)
        elif item.source:
            assert not is_refusal(item.answer), item.answer


def test_the_mix_has_all_parts(built: tuple[list[Example], list[Example], Path]) -> None:
    kinds = Counter(item.kind for item in built[0])
    wanted = {
        "fact",
        "refusal",
        "scene",
        "scene_refusal",
        "lost_refusal",
        "follow_up",
        "lore",
        "introduction",
        "small_talk",
    }
    assert wanted <= set(kinds)
    asked = sum(kinds[kind] for kind in kinds if kind in REFUSING or kind in ("fact", "scene", "lore", "follow_up"))
    assert 0.15 < sum(kinds[kind] for kind in REFUSING) / asked < 0.35
    languages = Counter(item.language for item in built[0])
    assert 0.25 < languages["en"] / len(built[0]) < 0.6


def test_nothing_of_the_test_is_in_the_training(built: tuple[list[Example], list[Example], Path]) -> None:
    report = check_splits(built[0], built[1])
    assert report.leaked_facts == []
    assert report.leaked_documents == []


def test_groups_stand_together_and_begin_alike(built: tuple[list[Example], list[Example], Path]) -> None:
    groups = [list(found) for _, found in groupby(built[0], key=lambda item: item.extra["group"])]
    names = [found[0].extra["group"] for found in groups]
    assert len(names) == len(set(names))
    shared = [found for found in groups if len(found) > 1 and found[0].kind in ("fact", "scene")]
    assert shared
    passages = [{item.messages[-1]["content"].rpartition("\n")[0] for item in found} for found in shared]
    whole, cut = [one for one in passages if len(one) == 1], [one for one in passages if len(one) > 1]
    assert whole
    assert cut
    for found in shared:
        assert len({item.messages[0]["content"] for item in found}) == 1


def test_introductions_say_the_name_on_the_card(built: tuple[list[Example], list[Example], Path]) -> None:
    for item in built[0]:
        if item.kind == "introduction":
            assert item.expected[0] in item.answer


def test_evidence_holds_the_sentence_that_answers_and_few_others() -> None:
    sentences = [f"这是关于灯塔的第{number}句话，讲的是另外的事。" for number in range(12)]
    right = Passage("d", "T", "H", "".join(sentences), (), "zh", frozenset())
    wrong = [Passage(f"w{number}", "W", "", "".join(sentences[:6]), (), "zh", frozenset()) for number in range(3)]
    for seed in range(20):
        found = evidence(Random(seed), "灯塔的第7句讲什么？", [*wrong, right], 4, ["第7句"])
        assert found is not None
        kept, source = found
        assert sentences[7] in kept[source - 1].text
        assert (kept[source - 1].document, kept[source - 1].title, kept[source - 1].heading) == ("d", "T", "H")
        assert 2 <= sum(sentence in item.text for item in kept for sentence in sentences) <= 6
        assert all(item.text.replace("…", "") for item in kept)


def test_there_is_no_evidence_where_no_single_sentence_answers() -> None:
    passage = Passage("d", "T", "", "灯塔在海边的山上。它有七层那么高。", (), "zh", frozenset())
    assert evidence(Random(1), "灯塔在哪里？", [passage], 1, ["海边的山上。它"]) is None
    kept, source = evidence(Random(1), "灯塔在哪里？", [passage]) or ([], -1)
    assert (len(kept), source) == (1, 0)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = build_dataset("elysia", tmp_path / "a", seed=3, size=200)
    again = build_dataset("elysia", tmp_path / "b", seed=3, size=200)
    other = build_dataset("elysia", tmp_path / "c", seed=4, size=200)
    assert first.sha256 == again.sha256 != other.sha256


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    one = build_dataset("elysia", tmp_path / "a", seed=3, size=300)
    two = build_dataset("elysia", tmp_path / "b", seed=3, size=300, processes=2)
    assert one.sha256 == two.sha256


def test_reading_files_are_split_by_document(tmp_path: Path, shared: Path) -> None:
    file = shared / "data" / "eval" / "cmrc2018_trial_squad.json"
    result = build_dataset("elysia", tmp_path, size=600, test_share=0.1, reading_file=file, mix={"reading": 80})
    assert result.report.kinds["reading"] > 100
    assert result.report.leaked_documents == []


@pytest.mark.parametrize("mix", [{"factz": 1.0}, {"facts": -1.0}])
def test_a_wrong_mix_is_refused(tmp_path: Path, mix: dict[str, float]) -> None:
    with pytest.raises(DatasetError):
        build_dataset("elysia", tmp_path, mix=mix, size=10)


def test_checks_find_what_is_wrong() -> None:
    prompt = [{"role": "user", "content": "where?"}]
    good = Example("fact", "en", prompt, "In Mist Harbour [1].", ("f",), ("d",), ("Mist Harbour",), 0)
    bad = Example("fact", "en", prompt, " ", ("f",), ("d",))
    report = check_splits([good], [bad])
    assert (report.duplicates, report.contradictions, report.empty_answers) == (1, 1, 1)
    assert report.leaked_facts == ["f"]
    assert report.leaked_documents == ["d"]
    assert not report.clean
    unsupported = Example("fact", "en", prompt, "In Salt Bay [1].", expected=("Mist Harbour",), source=1)
    assert check_splits([unsupported], []).unsupported == 1


def test_every_template_can_be_filled() -> None:
    rng = Random(0)
    count = 0
    for kind in KINDS:
        for attribute in attributes(kind):
            count += 1
            for language in ("zh", "en"):
                assert attribute.labels[language]
                assert all("{s}" in text and "{v}" in text for text in attribute.statements[language])
                assert all("{s}" in text for text in attribute.questions[language]), attribute
                assert all("{v}" in text for text in attribute.inverse[language])
                assert value(rng, attribute.value, language, [])
    assert count > 150


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_scene_holds_its_answers(language: str) -> None:
    rng = Random(0)
    for scene in scenes(language):
        for _ in range(3):
            chosen = fill_scene(rng, scene)
            for part in scene.sections:
                text = put(part.text, chosen)
                assert "{" not in text + put(part.heading, chosen) + put(scene.title, chosen)
                for question in part.questions:
                    assert "{" not in "".join(put(wording, chosen) for wording in question.wordings)
                    answer = put(question.answer, chosen)
                    assert answer.casefold() in text.casefold(), (scene.title, answer)
                    assert answer.casefold() in sentence_of(text, answer, language).casefold(), (scene.title, answer)


@pytest.mark.parametrize("style", ["elysia", "plain"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_wordings_of_a_voice_are_told_apart(style: str, language: str) -> None:
    wording = template_file("voice")[style][language]
    assert all(is_refusal(text) for text in split(wording["refuse"]))
    assert not [text for key in ("open", "close") for text in split(wording[key]) if is_refusal(text)]


@pytest.mark.parametrize(
    ("number", "zh", "en"),
    [
        (7, "七", "seven"),
        (12, "十二", "twelve"),
        (40, "四十", "forty"),
        (205, "二百零五", "two hundred and five"),
        (315, "三百一十五", "three hundred and fifteen"),
    ],
)
def test_numbers_in_words(number: int, zh: str, en: str) -> None:
    assert zh_number(number) == zh
    assert en_number(number) == en


def test_the_manifest_says_how_it_was_made(built: tuple[list[Example], list[Example], Path]) -> None:
    manifest = json.loads((built[2] / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["persona"] == "elysia"
    assert manifest["seed"] == 1
    assert len(manifest["train_sha256"]) == 64
