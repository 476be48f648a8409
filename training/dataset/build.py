"""Build a dataset from a persona: generated examples, split, checked and written with a report."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from random import Random

from elysia_chat.chains.refusal import is_refusal
from elysia_chat.configs.files import write_text, writing_errors
from elysia_chat.configs.paths import ensure_dir
from elysia_chat.kb.personas import Persona, load_persona
from elysia_chat.training.dataset.checks import Report, check_splits
from elysia_chat.training.dataset.example import TEXT_KIND, Example
from elysia_chat.training.dataset.lexicon import template_file
from elysia_chat.training.dataset.lore import lore_passages, lore_questions
from elysia_chat.training.dataset.mixture import Material, Mix, make_unit
from elysia_chat.training.dataset.pictures import draw_dataset
from elysia_chat.training.dataset.reading import read_squad
from elysia_chat.training.dataset.talk import Dialogue, read_dialogues
from elysia_chat.training.dataset.voice import Speaker, split
from elysia_chat.training.errors import DatasetError

TRAIN, TEST, PROMPTS, REPORT, MANIFEST = "train.jsonl", "test.jsonl", "prompts.jsonl", "report.json", "manifest.json"
_UNITS_A_JOB = 40
_PROMPTS = 60


@dataclass(frozen=True)
class BuiltDataset:
    """Where a dataset lies, how large it is, and what the checks found.

    Attributes:
        folder: holds train.jsonl, test.jsonl, prompts.jsonl, report.json, manifest.json and pictures.
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
    imported: Sequence[Example] = (),
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> BuiltDataset:
    """Generate, split, check and write a dataset. The same arguments give the same bytes.

    Beside the examples it writes prompts of the test split, to be answered while a model trains.

    Args:
        persona: name of the persona.
        out: folder to write to; it is created.
        seed: of everything drawn.
        mix: weights of the parts (`mixture.Mix`) that differ from the defaults.
        size: number of training examples to generate; 0 takes the imported ones alone.
        test_share: share of units, documents and dialogues that are kept for the test split.
        reading_file: questions in SQuAD's form to mix in.
        imported: examples of one's own, added to the generated ones and split by their documents.
        processes: how many work at it.
        progress: called with (examples done, examples in all).

    Raises:
        UnknownPersonaError: there is no such persona.
        DatasetError: the mix or the size makes no sense.
        DataFileError: a file of the persona or the reading file has the wrong shape.
    """
    if size < 0 or not (size or imported) or not 0 <= test_share < 0.5:
        msg = "A dataset needs a size of at least 1, or imported examples, and a test share from 0 to below 0.5."
        raise DatasetError(msg)
    ensure_dir(out)
    own, own_test = _split_imported(imported, test_share)
    train_material, test_material = gather(load_persona(persona), Mix.from_mapping(mix), test_share, reading_file)
    tell = (lambda done: progress(min(done, size), size)) if progress else (lambda _done: None)
    train = _examples(train_material, f"{seed}/train", size, processes, own, tell)
    test_size = round(size * test_share)
    test = _examples(test_material, f"{seed}/test", test_size, processes, own_test) if test_share else []
    with writing_errors(out, DatasetError):
        digest = _write(out / TRAIN, train)
        _write(out / TEST, test)
        _write_prompts(out / PROMPTS, test, seed)
        report = check_splits(train, test)
        write_text(out / REPORT, json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n")
        draw_dataset(train, test, out)
        manifest = {
            "persona": persona,
            "seed": seed,
            "mix": asdict(train_material.mix),
            "size": size,
            "test_share": test_share,
            "reading_file": reading_file.name if reading_file else None,
            "imported": len(own) + len(own_test),
            "train_sha256": digest,
        }
        write_text(out / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return BuiltDataset(out, len(train), len(test), digest, report)


def _split_imported(imported: Sequence[Example], test_share: float) -> tuple[list[Example], list[Example]]:
    """Split imported examples by document, and leave out those that are there before with the same answer."""
    once = {(tuple(m["content"] for m in item.messages), item.answer): item for item in imported}
    parts: tuple[list[Example], list[Example]] = ([], [])
    for item in once.values():
        parts[_held_out(item.documents[0] if item.documents else item.answer, test_share)].append(item)
    return parts


def _held_out(key: str, test_share: float) -> bool:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < test_share


def _write_prompts(path: Path, test: Sequence[Example], seed: int) -> None:
    """Write some prompts of the test with what is expected of their answers."""
    usable = [item for item in test if item.kind != TEXT_KIND]
    chosen = Random(f"{seed}/prompts").sample(usable, min(len(usable), _PROMPTS))  # noqa: S311 (no secret)
    lines = []
    for item in chosen:
        record = {
            "set": item.kind,
            "messages": list(item.messages),
            "any_of": list(item.expected),
            "sources": [item.source] if item.source else [],
            "refuse": not item.expected and is_refusal(item.answer),
        }
        kept = {key: value for key, value in record.items() if value}
        lines.append(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n")
    write_text(path, "".join(lines))


def gather(persona: Persona, mix: Mix, test_share: float, reading_file: Path | None) -> tuple[Material, Material]:
    """Collect what examples are made of, split by document and dialogue: for training, and for the test."""
    voices = {lang: _voice(persona, lang) for lang in ("zh", "en")}
    documents = persona.documents()
    lore = lore_passages(documents)
    dialogues = [item for folder in persona.lore_folders for item in _dialogues(folder.parent / "dialogues.jsonl")]
    passages, questions = read_squad(reading_file) if reading_file else ([], [])
    parts = []
    for test in (False, True):
        mine = [item for item in lore if _held_out(item.document, test_share) == test]
        reading = [item for item in passages if _held_out(item.document, test_share) == test]
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


def _examples(
    material: Material,
    seed: str,
    size: int,
    processes: int,
    own: Sequence[Example] = (),
    tell: Callable[[int], None] = lambda _done: None,
) -> list[Example]:
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
                tell(total)
                for _, group in groupby(_fresh(examples, seen), key=lambda item: item.extra["group"]):
                    groups.append(list(group))
                    total += len(groups[-1])
    Random(seed).shuffle(groups)  # noqa: S311 (a reproducible draw, no secret)
    generated = list(islice(chain.from_iterable(groups), size))
    if not own:
        return generated
    # Cut to size first, so that imported examples are all in it; then mixed, the groups kept together.
    mixed = [list(group) for _, group in groupby(generated, key=lambda item: item.extra["group"])]
    mixed += [[item] for item in own]
    Random(f"{seed}/own").shuffle(mixed)  # noqa: S311
    return list(chain.from_iterable(mixed))


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
