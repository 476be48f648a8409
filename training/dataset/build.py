"""Build a dataset from a persona: generated examples, split, checked and written with a report."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from random import Random

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.kb.personas import Persona, load_persona
from elysia_chat.training.dataset.checks import Report, check_splits
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.dataset.lexicon import template_file
from elysia_chat.training.dataset.lore import lore_passages, lore_questions
from elysia_chat.training.dataset.mixture import Material, Mix, make_unit
from elysia_chat.training.dataset.reading import read_squad
from elysia_chat.training.dataset.talk import Dialogue, read_dialogues
from elysia_chat.training.dataset.voice import Speaker, split
from elysia_chat.training.errors import DatasetError

TRAIN, TEST, REPORT, MANIFEST = "train.jsonl", "test.jsonl", "report.json", "manifest.json"
_UNITS_A_JOB = 40


@dataclass(frozen=True)
class BuiltDataset:
    """Where a dataset lies, how large it is, and what the checks found.

    Attributes:
        folder: holds train.jsonl, test.jsonl, report.json and manifest.json.
        train: number of examples.
        test: number of examples.
        sha256: of train.jsonl.
        report: the checks' findings.
    """

    folder: Path
    train: int
    test: int
    sha256: str
    report: Report


def build_dataset(
    persona: str,
    out: Path,
    *,
    seed: int = 1,
    mix: dict[str, float] | None = None,
    size: int = 20_000,
    test_share: float = 0.02,
    reading_file: Path | None = None,
    processes: int = 1,
) -> BuiltDataset:
    """Generate, split, check and write a dataset. The same arguments give the same bytes.

    Args:
        persona: name of the persona.
        out: folder to write to; it is created.
        seed: of everything drawn.
        mix: weights of the parts (`mixture.Mix`) that differ from the defaults.
        size: number of training examples.
        test_share: share of units, documents and dialogues that are kept for the test split.
        reading_file: questions in SQuAD's form to mix in.
        processes: how many work at it.

    Raises:
        UnknownPersonaError: there is no such persona.
        DatasetError: the mix or the size makes no sense.
        DataFileError: a file of the persona or the reading file has the wrong shape.
    """
    if size < 1 or not 0 <= test_share < 0.5:
        msg = "A dataset needs a size of at least 1 and a test share from 0 to below 0.5."
        raise DatasetError(msg)
    ensure_dir(out)
    train_material, test_material = gather(load_persona(persona), Mix.from_mapping(mix), test_share, reading_file)
    train = _examples(train_material, f"{seed}/train", size, processes)
    test = _examples(test_material, f"{seed}/test", round(size * test_share), processes) if test_share else []
    digest = _write(out / TRAIN, train)
    _write(out / TEST, test)
    report = check_splits(train, test)
    (out / REPORT).write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=2), encoding="utf-8")
    manifest = {
        "persona": persona,
        "seed": seed,
        "mix": asdict(train_material.mix),
        "size": size,
        "test_share": test_share,
        "reading_file": reading_file.name if reading_file else None,
        "train_sha256": digest,
    }
    (out / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2), encoding="utf-8")
    return BuiltDataset(out, len(train), len(test), digest, report)


def gather(persona: Persona, mix: Mix, test_share: float, reading_file: Path | None) -> tuple[Material, Material]:
    """Collect what examples are made of, split by document and dialogue: for training, and for the test."""
    voices = {lang: _voice(persona, lang) for lang in ("zh", "en")}
    documents = persona.documents()
    lore = lore_passages(documents)
    dialogues = [item for folder in persona.lore_folders for item in _dialogues(folder.parent / "dialogues.jsonl")]
    passages, questions = read_squad(reading_file) if reading_file else ([], [])

    def held_out(key: str) -> bool:
        return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < test_share

    parts = []
    for test in (False, True):
        mine = [item for item in lore if held_out(item.document) == test]
        reading = [item for item in passages if held_out(item.document) == test]
        own = {item.document for item in reading}
        parts.append(
            Material(
                mix,
                voices,
                dialogues if not test else [],
                mine,
                lore_questions(mine),
                [item for item in questions if item.passage.document in own],
                reading,
            )
        )
    return parts[0], parts[1]


def _voice(persona: Persona, language: str) -> Speaker:
    card = persona.card.localized(language)
    style = "elysia" if persona.name == "elysia" else "plain"
    wordings = split(template_file("voice")[style][language]["refuse"])
    refusals = (*card.refusals, *card.refusals, *wordings)
    return Speaker(card.name, card.system_prompt, language, style, tuple(refusals))


def _dialogues(path: Path) -> list[Dialogue]:
    return read_dialogues(path) if path.is_file() else []


def _examples(material: Material, seed: str, size: int, processes: int) -> list[Example]:
    if not size:
        return []
    groups: list[list[Example]] = []
    seen: set[int] = set()
    total = jobs = 0
    local = processes <= 1
    with ProcessPoolExecutor(max(1, processes), initializer=_remember, initargs=(material,)) as pool:
        while total < size:
            starts = range(jobs, jobs + _UNITS_A_JOB * 4 * max(1, processes), _UNITS_A_JOB)
            wave = [[f"{seed}/{number}" for number in range(start, start + _UNITS_A_JOB)] for start in starts]
            jobs += _UNITS_A_JOB * len(wave)
            made = (_units(material, seeds) for seeds in wave) if local else pool.map(_job, wave)
            for examples in made:
                if total >= size:
                    break
                for _, group in groupby(_fresh(examples, seen), key=lambda item: item.extra["group"]):
                    groups.append(list(group))
                    total += len(groups[-1])
    Random(seed).shuffle(groups)  # noqa: S311 (a reproducible draw, no secret)
    return list(islice(chain.from_iterable(groups), size))


def _fresh(examples: list[Example], seen: set[int]) -> Iterator[Example]:
    """Leave out prompts that were there before."""
    for example in examples:
        key = hash(tuple(message["content"] for message in example.messages))
        if key not in seen:
            seen.add(key)
            yield example


_MATERIAL: list[Material] = []


def _remember(material: Material) -> None:
    _MATERIAL[:] = [material]


def _job(seeds: list[str]) -> list[Example]:
    return _units(_MATERIAL[0], seeds)


def _units(material: Material, seeds: list[str]) -> list[Example]:
    return [example for seed in seeds for example in make_unit(material, seed)]


def _write(path: Path, examples: list[Example]) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for example in examples:
            line = json.dumps(example.to_record(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            file.write(line)
    return digest.hexdigest()
