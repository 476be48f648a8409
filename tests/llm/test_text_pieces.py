"""Text that comes in pieces: characters over several tokens, and stop strings over several pieces."""

from hypothesis import given
from hypothesis import strategies as st

from elysia_chat.llm.detokenizer import IncrementalDetokenizer
from elysia_chat.llm.stop_strings import StopStrings

from . import tiny


def _decode(tokens: object) -> str:
    return tiny.tokenizer().decode(list(tokens), skip_special_tokens=True)  # type: ignore[call-overload]


@given(st.text(max_size=40))
def test_pieces_join_to_the_text_and_hold_whole_characters(text: str):
    text = text.encode("utf-8", "ignore").decode().replace("\ufffd", "")
    detokenizer = IncrementalDetokenizer(_decode)
    pieces = [detokenizer.push(token) for token in tiny.tokenizer()(text, add_special_tokens=False).input_ids]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_appears_with_its_last_byte():
    detokenizer = IncrementalDetokenizer(_decode)
    tokens = tiny.tokenizer()("爱a", add_special_tokens=False).input_ids
    assert [detokenizer.push(token) for token in tokens] == ["", "", "爱", "a"]


def test_special_tokens_do_not_break_the_character_after_them():
    """Four tokens without text once counted as four bytes that wait, and the next character came broken."""
    detokenizer = IncrementalDetokenizer(_decode)
    tokens = [3, 3, 3, 3, *tiny.tokenizer()("爱", add_special_tokens=False).input_ids]
    assert [detokenizer.push(token) for token in tokens] == [*[""] * 6, "爱"]


def test_broken_bytes_do_not_hold_the_text_back_for_ever():
    detokenizer = IncrementalDetokenizer(_decode)
    first_byte = tiny.tokenizer()("爱", add_special_tokens=False).input_ids[0]
    tokens = [first_byte] * 6 + tiny.tokenizer()("ok", add_special_tokens=False).input_ids
    assert "".join(detokenizer.push(token) for token in tokens).endswith("ok")


@given(
    st.lists(st.text("abc", max_size=3), max_size=20),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_no_part_of_a_stop_string_is_shown(pieces: list[str], stop: list[str]):
    stops = StopStrings(stop)
    shown = ""
    for piece in pieces:
        shown += stops.push(piece)
        if stops.met:
            break
    text = "".join(pieces)
    first = min((text.find(one) for one in stop if one in text), default=None)
    assert stops.met == (first is not None)
    shown += stops.flush()
    assert text.startswith(shown)
    assert not any(one in shown for one in stop)
    if first is None:
        assert shown == text


def test_a_beginning_that_comes_to_nothing_is_shown_later():
    stops = StopStrings(["\nUser:"])
    assert [stops.push(piece) for piece in ["Hi\n", "Us", "ual", "\nUser", ": x"]] == ["Hi", "", "\nUsual", "", ""]
    assert stops.met
    assert stops.flush() == ""


@given(st.text(min_size=1, max_size=20), st.integers(1, 9))
def test_several_tokens_at_once_join_to_the_same_text(text: str, size: int):
    text = text.encode("utf-8", "ignore").decode().replace("\ufffd", "")
    detokenizer = IncrementalDetokenizer(_decode)
    tokens = tiny.tokenizer()(text, add_special_tokens=False).input_ids
    pieces = [detokenizer.push(*tokens[begin : begin + size]) for begin in range(0, len(tokens), size)]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
