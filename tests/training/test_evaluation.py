"""Evaluation: prompts as in the chat, answers as in the chat, and figures that tell a good persona from a bad one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.documents import Document

from elysia_chat.chains.evaluation import QuestionSet
from elysia_chat.chains.qa import RetrievalQAChain
from elysia_chat.kb.personas import BUNDLED, load_persona
from elysia_chat.llm.errors import AdapterError, ModelLoadError
from elysia_chat.training.evaluate import answer as answer_module
from elysia_chat.training.evaluate.answer import AnswerSettings, answer_prompts, answer_with, checkpoint_step
from elysia_chat.training.evaluate.checks import copies, distinct, introduces_itself, is_sound, loops, names_itself
from elysia_chat.training.evaluate.files import (
    Answer,
    Answers,
    PreparedItem,
    PreparedPrompts,
    read_answers,
    read_prepared,
    write_file,
)
from elysia_chat.training.evaluate.prepare import PromptSettings, World, fixed_prompts, prepare
from elysia_chat.training.evaluate.report import build_report, markdown, read_report, write_report
from elysia_chat.training.evaluate.score import overall, reached, score
from elysia_chat.training.evaluate.sweep import find_checkpoints, judge, sweep
from elysia_chat.training.handover_errors import EvaluationError

from .tiny_models import save_adapter, save_model, tiny_gemma, tiny_llama

QUESTIONS = QuestionSet.model_validate(
    {
        "answerable": [
            {"q": "渡船几点开？", "any_of": ["九点", "9点"], "source": "ferry.md"},
            {"q": "What is the boat called?", "any_of": ["Quiet Wind"], "source": "boat.md"},
        ],
        "unanswerable": ["船长多高？", "How old is the captain?"],
    }
)
FERRY = Document("渡船早上九点开。", metadata={"document": "ferry.md", "title": "渡船", "heading": ""})
BOAT = Document("The boat is the Quiet Wind.", metadata={"document": "boat.md", "title": "Boat", "heading": ""})


def search(question: str, count: int) -> list[Document]:
    found = [BOAT, FERRY] if "boat" in question else [FERRY, BOAT]
    return found[:count]


@pytest.fixture(scope="module")
def prepared() -> PreparedPrompts:
    card = load_persona("elysia").card
    return prepare("elysia", card, [World("harbour", QUESTIONS, search)], search=search, settings=PromptSettings(k=1))


def good_reply(item: PreparedItem) -> str:
    if item.kind == "answerable":
        return f"{item.accepted[0]}呀♪[1]"
    if item.kind == "unanswerable":
        return "这个我真的不知道呢。" if item.language == "zh" else "I really don't know that one."
    if item.kind == "introduction":
        return "我是爱莉希雅♪" if item.language == "zh" else "I'm Elysia ♪"
    # The prompt itself stands for a reply that is like no other.
    return f"嗯嗯，你说{item.question}" if item.language == "zh" else f"So you say: {item.question}"


def answers_by(
    prepared: PreparedPrompts, reply: Callable[[PreparedItem], str], label: str = "model", **fields: Any
) -> Answers:
    written = {item.id: Answer(text=reply(item), tokens=len(reply(item))) for item in prepared.items}
    return Answers(label=label, model="tiny", answers=written, **fields)


class TestFixedPrompts:
    def test_there_are_twenty_of_each_that_the_goals_count(self) -> None:
        for language in ("zh", "en"):
            sizes = {name: len(set(lists[language])) for name, lists in fixed_prompts().items()}
            assert sizes == {"introductions": 20, "everyday": 20, "general": 15}

    def test_none_of_them_is_trained_on(self) -> None:
        from elysia_chat.training import dataset

        lines = (BUNDLED / "elysia" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
        dialogues = {
            m["content"].strip() for line in lines for m in json.loads(line)["messages"] if m["role"] == "user"
        }
        sources = [path for path in Path(dataset.__path__[0]).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        templates = "\n".join(path.read_text(encoding="utf-8") for path in sources)
        ours = {prompt for lists in fixed_prompts().values() for prompts in lists.values() for prompt in prompts}
        assert len(dialogues) > 100
        assert ours & dialogues == set()
        # Very short ones are words of the language and stand in any text.
        assert [prompt for prompt in ours if len(prompt) > 6 and prompt in templates] == []


class TestPrepare:
    def test_every_prompt_is_the_one_of_the_chat(self, prepared: PreparedPrompts) -> None:
        card = load_persona("elysia").card
        chain = RetrievalQAChain(voices={"zh": card.localized("zh"), "en": card.localized("en")}, model=None)  # type: ignore[arg-type]
        for item in prepared.items:
            passages = search(item.question, 1) if item.arm == "rag" else None
            wanted = chain.prompt(item.question, (), passages, item.language).messages
            assert [message.content for message in item.messages] == [message.content for message in wanted]

    def test_both_arms_ask_the_same(self, prepared: PreparedPrompts) -> None:
        arms = {arm: [item.question for item in prepared.items if item.arm == arm] for arm in ("rag", "plain")}
        assert arms["rag"] == arms["plain"]
        assert len(arms["rag"]) == 4 + 2 * (20 + 20 + 15)
        assert all(not item.passages for item in prepared.items if item.arm == "plain")

    def test_the_budget_of_the_prompt_holds(self) -> None:
        card = load_persona("elysia").card
        settings = PromptSettings(k=2, count_tokens=len, prompt_tokens=900)
        small = prepare("elysia", card, [World("harbour", QUESTIONS, search)], arms=["rag"], settings=settings)
        assert all(sum(len(message.content) for message in item.messages) <= 900 for item in small.items)
        assert sum(len(item.passages) < 2 for item in small.items) > 0
        assert all(len(item.found) == 2 for item in small.items if item.set == "harbour")

    def test_names_and_nickname_come_from_the_card(self, prepared: PreparedPrompts) -> None:
        assert (prepared.names, prepared.nicknames) == (("爱莉希雅", "Elysia"), ("爱莉",))

    def test_the_file_holds_everything(self, prepared: PreparedPrompts, tmp_path: Path) -> None:
        write_file(prepared, tmp_path / "prepared.json")
        assert read_prepared(tmp_path / "prepared.json") == prepared


class TestChecks:
    @pytest.mark.parametrize(
        ("reply", "introduces"),
        [
            ("我是爱莉希雅，请多关照♪", True),
            ("我就是往世乐土的向导，爱莉希雅。", True),
            ("大家都叫我爱莉♪", True),
            ("Hi! I’m Elysia.", True),
            ("My name is Elysia, Captain.", True),
            ("舰长辛苦啦，让爱莉陪陪你。", False),
            ("我是真的很高兴！爱莉希雅也喜欢花。", False),
            ("Elysia loves flowers too.", False),
            ("I am so happy. Elysia is happy.", False),
        ],
    )
    def test_introduces_itself(self, reply: str, introduces: bool) -> None:
        assert introduces_itself(reply, ["爱莉希雅", "Elysia", "爱莉"]) is introduces

    def test_a_name_counts_in_any_width_and_case(self) -> None:
        assert names_itself("ＥＬＹＳＩＡ♪", ["Elysia"])
        assert not names_itself("爱莉♪", ["爱莉希雅", "Elysia"])

    @pytest.mark.parametrize(
        ("reply", "loop"),
        [
            ("哈哈哈，真有趣", False),
            ("好的好的，我马上来♪", False),
            ("我喜欢花。我喜欢花。我喜欢花。我喜欢花。", True),
            ("the sea and the sea and the sea and the sea and the sea", True),
            ("Blue, red, green and yellow: each of them is lovely in its own way, and none is like another.", False),
            ("1、苹果 2、香蕉 3、橘子 4、葡萄", False),
        ],
    )
    def test_loops(self, reply: str, loop: bool) -> None:
        assert loops(reply) is loop

    def test_a_sound_reply_says_something_in_the_right_language(self) -> None:
        assert is_sound("先把水烧开，再煮六分钟。", "zh")
        assert not is_sound("Boil the water first.", "zh")
        assert not is_sound("♪……", "zh")
        assert not is_sound("", "en")

    def test_a_reply_that_only_repeats_its_prompt_is_a_copy(self) -> None:
        prompt = "资料：渡船每天早上九点从北岸出发，经过灯塔以后在十点半到达对面的小镇。\n问题：怎么煮蛋？"
        assert copies("渡船每天早上九点从北岸出发，经过灯塔以后在十点半到达", prompt)
        assert not copies("渡船早上九点出发，先把蛋放进冷水里，再煮六分钟就好。", prompt)

    def test_replies_that_are_nine_tenths_the_same_count_once(self) -> None:
        assert distinct(["早上好，舰长，今天也要加油哦♪", "早上好，舰长，今天也要加油呀♪", "下雨了，记得带伞。"]) == 2
        assert distinct(["", "", "嗯。"]) == 2


class TestScore:
    def test_a_good_persona_reaches_every_goal(self, prepared: PreparedPrompts) -> None:
        figures = score(prepared, answers_by(prepared, good_reply))["rag"]
        for name in ("answered", "refused", "cited", "source_first", "introduced", "distinct", "general", "overall"):
            assert figures[name] == 1.0, name
        assert figures["intrusive"] == figures["wrongly_refused"] == 0.0
        assert figures["sets"]["harbour"]["counts"] == {"answerable": 2, "unanswerable": 2}

    def test_one_that_always_introduces_itself_is_found_out(self, prepared: PreparedPrompts) -> None:
        """The seed's overfitting: every answer is the introduction."""
        figures = score(
            prepared,
            answers_by(prepared, lambda item: good_reply(item) if item.kind == "introduction" else "我是爱莉希雅♪"),
        )["rag"]
        assert (figures["introduced"], figures["intrusive"]) == (1.0, 1.0)
        assert figures["distinct"] == 0.05
        assert (figures["answered"], figures["refused"]) == (0.0, 0.0)
        assert figures["overall"] < 0.4

    def test_one_that_refuses_everything_is_found_out(self, prepared: PreparedPrompts) -> None:
        figures = score(prepared, answers_by(prepared, lambda _item: "这个我真的不知道呢。"))["rag"]
        assert (figures["answered"], figures["wrongly_refused"], figures["refused"]) == (0.0, 1.0, 1.0)
        assert (figures["introduced"], figures["general_refused"]) == (0.0, 1.0)

    def test_one_that_answers_in_one_language_alone_is_found_out(self, prepared: PreparedPrompts) -> None:
        figures = score(prepared, answers_by(prepared, lambda item: f"好呀，{item.question[:3]}{hash(item.id)}花"))[
            "rag"
        ]
        assert figures["languages"]["zh"]["general"] == 1.0
        assert figures["languages"]["en"]["general"] == 0.0

    def test_without_retrieval_nothing_is_said_of_sources(self, prepared: PreparedPrompts) -> None:
        figures = score(prepared, answers_by(prepared, good_reply))["plain"]
        assert figures["source_first"] is figures["cited"] is None
        assert figures["answered"] == 1.0

    def test_a_figure_is_measured_against_its_goal(self) -> None:
        assert [reached("intrusive", 0.05), reached("intrusive", 0.1), reached("answered", 0.9)] == [True, False, True]
        assert reached("general", 0.1) is None
        assert overall({"answered": 1.0, "intrusive": 0.5}) == 0.75

    def test_missing_answers_are_named(self, prepared: PreparedPrompts) -> None:
        answers = Answers(label="half", model="tiny", answers={})
        with pytest.raises(EvaluationError, match="half has no answer to 228 prompts"):
            score(prepared, answers)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_llama(max_position_embeddings=4096, initializer_range=0.1)
    return save_model(model, tmp_path_factory.mktemp("models") / "tiny-llama")


SHORT = AnswerSettings(batch_size=4, max_new_tokens=8)


class TestAnswer:
    @pytest.mark.parametrize("make", [tiny_llama, tiny_gemma], ids=["llama", "gemma"])
    def test_in_batches_as_one_by_one_in_the_chat(self, make: Any, prepared: PreparedPrompts, tmp_path: Path) -> None:
        """Left padding done wrong changes what short prompts are answered; the chat's own engine pads nothing."""
        from elysia_chat.llm.transformers_chat import TransformersChatModel

        model = make(max_position_embeddings=4096, initializer_range=0.05)
        # Never choose pieces of single bytes: a run of them is shown differently while it is being written.
        model.get_output_embeddings().weight.data[5:261] = 0
        folder = save_model(model, tmp_path / "model")
        chat = TransformersChatModel.from_folder(folder, dtype="float32", device="cpu", max_new_tokens=8)
        items = [item for item in prepared.items if item.set in ("harbour", "everyday")][::9]
        answers = answer_prompts(chat.engine.model, chat.engine.tokenizer, items, SHORT)
        assert len({len(item.messages[-1].content) for item in items}) > 3
        for item in items:
            messages = [(message.role, message.content) for message in item.messages]
            assert answers[item.id].text == str(chat.invoke(messages).content).strip(), item.id

    def test_an_adapter_answers_otherwise_than_its_base(
        self, base: Path, prepared: PreparedPrompts, tmp_path: Path
    ) -> None:
        few = prepared.model_copy(update={"items": prepared.items[:4]})
        adapter = save_adapter(base, tmp_path / "checkpoint-30", strength=0.5)
        tuned = answer_with(few, adapter=adapter, dtype="float32", device="cpu", settings=SHORT)
        untuned = answer_with(few, str(base), dtype="float32", device="cpu", settings=SHORT)
        assert (tuned.label, tuned.step, tuned.settings["dtype"]) == ("checkpoint-30", 30, "float32")
        assert tuned.answers != untuned.answers
        write_file(tuned, tmp_path / "answers.json")
        assert read_answers(tmp_path / "answers.json") == tuned

    def test_on_4_bits(self, base: Path, prepared: PreparedPrompts, tmp_path: Path) -> None:
        pytest.importorskip("bitsandbytes")
        few = prepared.model_copy(update={"items": prepared.items[:2]})
        adapter = save_adapter(base, tmp_path / "adapter")
        answers = answer_with(few, adapter=adapter, bits=4, dtype="float32", device="cpu", settings=SHORT)
        assert answers.settings["bits"] == 4
        assert len(answers.answers) == 2

    def test_batches_shrink_where_memory_runs_out(
        self, base: Path, prepared: PreparedPrompts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []

        def generate(_model: Any, _tokenizer: Any, prompts: list[list[int]], _settings: AnswerSettings) -> list[Answer]:
            sizes.append(len(prompts))
            if len(prompts) > 2:
                raise torch.OutOfMemoryError
            return [Answer(text="ok", tokens=1) for _ in prompts]

        monkeypatch.setattr(answer_module, "_generate", generate)
        few = prepared.model_copy(update={"items": prepared.items[:7]})
        assert len(answer_with(few, str(base), settings=AnswerSettings(batch_size=8)).answers) == 7
        assert sizes == [7, 4, 2, 2, 2, 1]

    def test_memory_for_not_even_one_prompt(
        self, base: Path, prepared: PreparedPrompts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def generate(*_arguments: Any) -> list[Answer]:
            raise torch.OutOfMemoryError

        monkeypatch.setattr(answer_module, "_generate", generate)
        with pytest.raises(EvaluationError, match=r"does not hold a prompt of \d+ tokens"):
            answer_with(prepared, str(base), settings=SHORT)

    def test_bad_input(self, base: Path, prepared: PreparedPrompts, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="Give a model or an adapter"):
            answer_with(prepared)
        with pytest.raises(ModelLoadError):
            answer_with(prepared, str(tmp_path))
        adapter = save_adapter(base, tmp_path / "adapter")
        other = save_model(tiny_llama(hidden_size=128), tmp_path / "other")
        with pytest.raises(AdapterError, match="not on 'other'"):
            answer_with(prepared, str(other), adapter)

    def test_steps_are_read_from_names(self) -> None:
        assert [checkpoint_step(Path(name)) for name in ("checkpoint-300", "elysia-2", "adapter")] == [300, None, None]


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("{", "Invalid JSON"),
            ('{"persona": "x", "names": ["x"], "items": []}', "items: Tuple should have at least 1"),
            ('{"persona": "x", "names": ["x"], "items": [{"id": "a"}]}', r"items\.0\.set: Field required"),
        ],
    )
    def test_a_broken_file_is_told_in_one_line(self, content: str, said: str, tmp_path: Path) -> None:
        (tmp_path / "prepared.json").write_text(content)
        with pytest.raises(EvaluationError, match=said) as caught:
            read_prepared(tmp_path / "prepared.json")
        assert "\n" not in str(caught.value)

    def test_two_prompts_of_one_id(self, prepared: PreparedPrompts, tmp_path: Path) -> None:
        write_file(prepared.model_copy(update={"items": (prepared.items[0],) * 2}), tmp_path / "twice.json")
        with pytest.raises(EvaluationError, match="two prompts of the same id"):
            read_prepared(tmp_path / "twice.json")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="Cannot read"):
            read_answers(tmp_path / "none.json")


def row(step: int, overall: float, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "path": f"checkpoint-{step}",
        "overall": overall,
        "distinct": overall,
        "answered": 0.8,
        **more,
    }


class TestSweep:
    def test_the_earliest_of_the_best_is_named(self) -> None:
        found = judge([row(30, 0.8), row(10, 0.5), row(20, 0.8)], "rag")
        assert (found.best, found.best_step, found.overfitting) == ("checkpoint-20", 20, None)

    def test_overfitting_begins_where_the_score_falls_for_good(self) -> None:
        rows = [row(10, 0.6), row(20, 0.9), row(30, 0.8), row(40, 0.89), row(50, 0.7), row(60, 0.6)]
        found = judge(rows, "rag")
        assert found.overfitting is not None
        assert found.overfitting.step == 50
        assert "0.900 (step 20) to 0.700, most of all 'distinct'" in found.overfitting.reason

    def test_a_rising_loss_on_held_out_data_shows_it_earlier(self) -> None:
        rows = [row(10, 0.6, eval_loss=1.0), row(20, 0.7, eval_loss=0.8), row(30, 0.9, eval_loss=0.9)]
        found = judge(rows, "rag").overfitting
        assert found is not None
        assert (found.step, "held-out data rises from 0.8000 (step 20)" in found.reason) == (30, True)

    def test_noise_is_not_overfitting(self) -> None:
        assert judge([row(10, 0.9), row(20, 0.89), row(30, 0.885)], "rag").overfitting is None

    def test_checkpoints_of_a_run(self, base: Path, prepared: PreparedPrompts, tmp_path: Path) -> None:
        few = prepared.model_copy(update={"items": prepared.items[:6]})
        for step, strength in ((10, 0.0), (20, 0.3), (100, 0.6)):
            folder = save_adapter(base, tmp_path / f"checkpoint-{step}", strength=strength)
            state = {"log_history": [{"loss": 1.0 / step}, {"eval_loss": 2.0 + step}]}
            (folder / "trainer_state.json").write_text(json.dumps(state))
        cut = Path(shutil.copytree(tmp_path / "checkpoint-100", tmp_path / "checkpoint-200"))
        weights = cut / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        kept: list[Answers] = []
        found = sweep(few, find_checkpoints(tmp_path), settings=SHORT, dtype="float32", device="cpu", keep=kept.append)
        assert [row["step"] for row in found.rows] == [10, 20, 100]
        assert [answers.step for answers in kept] == [10, 20, 100]
        assert (found.rows[0]["train_loss"], found.rows[2]["eval_loss"]) == (0.1, 102.0)
        assert len(found.skipped) == 1
        assert "cut off or damaged" in found.skipped[0][1]

    def test_a_run_without_checkpoints(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="holds no checkpoints"):
            find_checkpoints(tmp_path)


class TestReport:
    def test_tuned_and_untuned_with_and_without_retrieval_side_by_side(
        self, prepared: PreparedPrompts, tmp_path: Path
    ) -> None:
        models = [answers_by(prepared, lambda _item: "嗯。", "untuned"), answers_by(prepared, good_reply, "tuned")]
        found = judge([row(10, 0.5), row(20, 0.9), row(30, 0.6)], "rag", [("checkpoint-40", "it is cut off")])
        report = build_report(prepared, models, found)
        files = write_report(report, tmp_path / "report")
        assert [path.name for path in files] == ["report.json", "report.md", "comparison.png", "sweep.png"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[2:])
        assert read_report(tmp_path / "report") == json.loads(json.dumps(report))
        text = files[1].read_text(encoding="utf-8")
        assert "| | untuned, with retrieval | untuned, without retrieval | tuned, with retrieval |" in text
        assert "| right answers | 0.000 ✗ | 0.000 ✗ | 1.000 | 1.000 | ≥ 0.90 |" in text
        assert "| 20 **best** |" in text
        assert "Overfitting set in at step 30" in text
        assert "Left out: it is cut off" in text

    def test_without_matplotlib_there_is_a_report_without_pictures(
        self, prepared: PreparedPrompts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
        files = write_report(build_report(prepared, [answers_by(prepared, good_reply)]), tmp_path)
        assert [path.name for path in files] == ["report.json", "report.md"]

    def test_what_a_model_wrote_stays_in_its_line(self, prepared: PreparedPrompts) -> None:
        nasty = answers_by(prepared, lambda _item: "```\n# big\n<script>|x|`" + "y" * 500)
        text = markdown(build_report(prepared, [nasty]))
        assert "\n# big" not in text
        assert "yyyy…`" in text

    def test_bad_input(self, prepared: PreparedPrompts, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="no answers to report on"):
            build_report(prepared, [])
        (tmp_path / "report.json").write_text("{}")
        with pytest.raises(EvaluationError, match="is no evaluation report"):
            read_report(tmp_path)
