"""The rebuilt tokenizer cuts text as sentencepiece does, and knows the control tokens by their numbers."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elysia_chat.llm.errors import ConversionError
from elysia_chat.llm.internlm2.tokenizer import CHAT_TEMPLATE, CHAT_TOKENS, convert_tokenizer

from . import pieces

TALK = [
    {"role": "system", "content": "你是爱莉希雅。"},
    {"role": "user", "content": "你好！"},
    {"role": "assistant", "content": "嗨♪"},
    {"role": "user", "content": "Who are you?"},
]
PUBLISHED_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ADDED = {"<|plugin|>": 92538, "<|interpreter|>": 92539, "<|action_end|>": 92540, "<|action_start|>": 92541}
ADDED |= {"<|im_end|>": 92542, "<|im_start|>": 92543}


def texts(count: int) -> list[str]:
    """Text made to be cut wrongly: runs, mixed scripts, characters without a piece, the makers' own pieces."""
    chosen = random.Random(0)
    alphabet = [
        *"aA bB\n\t-=_#*.。，！…—Ｅａ爱莉希雅0123456789<|>[]▁的你é🙂\u200b",
        "……",
        "——",
        "[UNUSED_TOKEN_3]",
        "    ",
    ]
    mixed = ["".join(chosen.choices(alphabet, k=chosen.randint(1, 30))) for _ in range(count)]
    runs = [letter * length for letter in " -=_.。…—a1哈\n\t" for length in range(1, 70)]
    return mixed + runs + pieces.TEXTS


def plain(text: str) -> bool:
    """Tell whether a text names no control token, of which sentencepiece by itself knows nothing."""
    return not any(name in text for name in (*CHAT_TOKENS, *CHAT_TOKENS.values(), "<s>", "</s>", "<unk>"))


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pieces.train(tmp_path_factory.mktemp("pieces") / "tokenizer.model").parent


@pytest.fixture(scope="session")
def tiny(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return convert_tokenizer(tiny_source, tmp_path_factory.mktemp("converted"), 600)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the published sentencepiece model, and that of the tokenizer made from it."""
    source = Path(__file__).resolve().parents[4] / "shared" / "data" / "internlm2"
    if not (source / "tokenizer.model").is_file():
        pytest.skip("the published tokenizer.model is not here")
    target = tmp_path_factory.mktemp("published")
    convert_tokenizer(source, target, 92544)
    return source, target


@pytest.fixture(scope="session")
def loaded(published: tuple[Path, Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(published[1])


class TestPublished:
    def test_every_text_gets_the_same_tokens(self, published: tuple[Path, Path], loaded: Any):
        reference = pieces.processor(published[0] / "tokenizer.model")
        lines = texts(4000) + [line for line in Path(__file__).read_text(encoding="utf-8").split("\n\n") if plain(line)]
        found = loaded(lines, add_special_tokens=False)["input_ids"]
        assert [line for line, ids in zip(lines, found, strict=True) if ids != reference.encode(line)] == []

    def test_and_comes_back_from_them(self, loaded: Any):
        lines = [line for line in texts(500) if "▁" not in line]
        assert [
            line for line in lines if loaded.decode(loaded(line, add_special_tokens=False)["input_ids"]) != line
        ] == []

    def test_control_tokens_have_their_numbers(self, loaded: Any):
        """transformers' own reading of the folder appends them, so that `<|im_end|>` becomes 92548."""
        assert len(loaded) == 92544
        assert {name: loaded.convert_tokens_to_ids(name) for name in ADDED} == ADDED
        assert loaded("<|im_start|>user\n").input_ids == [1, 92543, *loaded("user\n").input_ids[1:]]
        assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 2)

    def test_text_between_control_tokens_is_cut_as_before(self, published: tuple[Path, Path], loaded: Any):
        """As the published tokenizer works: the text is split at control tokens, each part cut by sentencepiece."""
        reference = pieces.processor(published[0] / "tokenizer.model")
        control = {**ADDED, "<s>": 1, "</s>": 2}
        for line in texts(300):
            text = f" <|im_start|>{line}<|im_end|>  </s>{line}"
            parts = re.split("(" + "|".join(map(re.escape, control)) + ")", text)
            expected = [n for part in parts for n in ([control[part]] if part in control else reference.encode(part))]
            assert loaded(text, add_special_tokens=False)["input_ids"] == expected

    def test_a_control_token_cannot_be_written_by_its_placeholder(self, loaded: Any):
        assert not {*range(92538, 92544)} & {*loaded("[UNUSED_TOKEN_146]system").input_ids}

    def test_the_conversation_is_written_as_published(self, loaded: Any):
        for talk, ask in ((TALK, True), (TALK[1:3], False)):
            ours = loaded.apply_chat_template(talk, tokenize=False, add_generation_prompt=ask)
            assert ours == loaded.apply_chat_template(
                talk, chat_template=PUBLISHED_TEMPLATE, tokenize=False, add_generation_prompt=ask
            )
        assert ours.startswith("<s><|im_start|>user\n你好！<|im_end|>\n")


def test_what_the_assistant_says_is_marked_for_training(tiny: Any):
    made = tiny.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    said = [number for number, mine in zip(made["input_ids"], made["assistant_masks"], strict=True) if mine]
    assert tiny.decode(said) == "嗨♪<|im_end|>"


@settings(max_examples=300, deadline=None)
@given(line=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_gets_the_tokens_of_sentencepiece(tiny_source: Path, tiny: Any, line: str):
    reference = pieces.processor(tiny_source / "tokenizer.model")
    assume(plain(line))
    assert tiny(line, add_special_tokens=False)["input_ids"] == reference.encode(line)


def test_many_texts_get_the_tokens_of_sentencepiece(tiny_source: Path, tiny: Any):
    reference = pieces.processor(tiny_source / "tokenizer.model")
    for line in texts(3000):
        assert tiny(line, add_special_tokens=False)["input_ids"] == reference.encode(line)


class TestSettings:
    def convert(self, tiny_source: Path, tmp_path: Path, vocabulary: int = 600, **files: Any) -> Any:
        source, target = tmp_path / "source", tmp_path / "target"
        source.mkdir()
        target.mkdir()
        (source / "tokenizer.model").write_bytes((tiny_source / "tokenizer.model").read_bytes())
        for name, content in files.items():
            (source / f"{name}.json").write_text(json.dumps(content))
        return convert_tokenizer(source, target, vocabulary)

    def test_tokens_that_a_fine_tune_added_follow_the_last(self, tiny_source: Path, tmp_path: Path, tiny: Any):
        last = len(tiny)
        added = {str(last): {"content": "<|sing|>", "special": True}, "1": {"content": "<s>", "special": True}}
        made = self.convert(
            tiny_source,
            tmp_path,
            tokenizer_config={"added_tokens_decoder": added},
            added_tokens={"<|dance|>": last + 1},
        )
        assert made.convert_tokens_to_ids(["<|sing|>", "<|dance|>", "<s>"]) == [last, last + 1, 1]
        assert made("<|sing|>", add_special_tokens=False).input_ids == [last]

    def test_added_tokens_with_a_gap(self, tiny_source: Path, tmp_path: Path, tiny: Any):
        with pytest.raises(ConversionError, match="have gaps"):
            self.convert(tiny_source, tmp_path, 900, added_tokens={"<|sing|>": len(tiny) + 3})

    def test_more_tokens_than_the_model_has(self, tiny_source: Path, tmp_path: Path):
        with pytest.raises(ConversionError, match=r"\d+ tokens and the model only 500: it is another model's"):
            self.convert(tiny_source, tmp_path, 500)

    def test_no_token_before_the_text(self, tiny_source: Path, tmp_path: Path):
        made = self.convert(tiny_source, tmp_path, tokenizer_config={"add_bos_token": False, "add_eos_token": True})
        assert made("a").input_ids[0] != 1
        assert made("a").input_ids[-1] == 2

    def test_the_published_chat_template_becomes_the_marked_one(self, tiny_source: Path, tmp_path: Path):
        made = self.convert(tiny_source, tmp_path, tokenizer_config={"chat_template": PUBLISHED_TEMPLATE})
        assert made.chat_template == CHAT_TEMPLATE

    @pytest.mark.parametrize("own", ["{% for message in messages %}[{{ message.content }}]{% endfor %}", "{{ broken("])
    def test_a_chat_template_of_another_form_is_kept(self, tiny_source: Path, tmp_path: Path, own: str):
        assert self.convert(tiny_source, tmp_path, tokenizer_config={"chat_template": own}).chat_template == own

    @pytest.mark.parametrize("content", [{"added_tokens_decoder": {"x": {}}}, {"added_tokens_decoder": {"5": "a"}}])
    def test_damaged_settings(self, tiny_source: Path, tmp_path: Path, content: Any):
        with pytest.raises(ConversionError, match=r"tokenizer_config\.json is damaged"):
            self.convert(tiny_source, tmp_path, tokenizer_config=content)


class TestDamaged:
    def refuse(self, source: Path, match: str) -> None:
        target = source.parent / "target"
        target.mkdir()
        with pytest.raises(ConversionError, match=match):
            convert_tokenizer(source, target, 600)
        assert list(target.iterdir()) == []

    def test_none(self, tmp_path: Path):
        (tmp_path / "source").mkdir()
        self.refuse(tmp_path / "source", r"holds no tokenizer: copy the model's tokenizer\.model")

    @pytest.mark.parametrize("kept", [0, 3000])
    def test_cut_short(self, tiny_source: Path, tmp_path: Path, kept: int):
        (tmp_path / "source").mkdir()
        whole = (tiny_source / "tokenizer.model").read_bytes()
        (tmp_path / "source" / "tokenizer.model").write_bytes(whole[:kept])
        self.refuse(tmp_path / "source", "cut off")

    @pytest.mark.parametrize(
        "changes", [{"model_type": "unigram"}, {"add_dummy_prefix": True}, {"byte_fallback": False}]
    )
    def test_another_kind(self, tmp_path: Path, changes: dict[str, Any]):
        pieces.train(tmp_path / "source" / "tokenizer.model", **changes)
        self.refuse(tmp_path / "source", "no tokenizer of InternLM2's kind")

    def test_a_fast_tokenizer_is_taken_as_it_is(self, tmp_path: Path, tiny: Any):
        tiny.save_pretrained(tmp_path / "source")
        (tmp_path / "target").mkdir()
        made = convert_tokenizer(tmp_path / "source", tmp_path / "target", 600)
        assert made(pieces.TEXTS).input_ids == tiny(pieces.TEXTS).input_ids
        assert made.convert_tokens_to_ids("<|im_end|>") == tiny.convert_tokens_to_ids("<|im_end|>")

    def test_a_fast_tokenizer_that_is_cut_short(self, tmp_path: Path):
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "tokenizer.json").write_text('{"model": {')
        self.refuse(tmp_path / "source", r"tokenizer\.json is damaged")
