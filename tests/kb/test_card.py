import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from elysia_chat.kb.card import load_card, parse_card
from elysia_chat.kb.card_png import embed_card
from elysia_chat.kb.errors import CardError

V1 = {
    "name": "Eden",
    "description": "{{char}} sings.",
    "personality": "calm",
    "scenario": "",
    "first_mes": "Hello {{user}}, I am {{Char}}.",
    "mes_example": "<START>\n{{user}}: Who are you?\n{{char}}: A singer.\n<START>\n{{user}}: Sing!\n{{char}}: La.",
}
V2 = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "unknown_top": [1, None],
    "data": {
        **V1,
        "system_prompt": "You are {{char}}.",
        "unknown_key": {"kept": None},
        "extensions": {"other/tool": {"depth": 4}},
        "character_book": {"entries": [{"keys": ["a"], "content": "b", "extensions": {}}]},
    },
}
V3 = {
    **V2,
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        **V2["data"],
        "nickname": "E",
        "extensions": {
            "elysia_chat": {
                "languages": {
                    "zh": {
                        "name": "伊甸",
                        "user": "舰长",
                        "system_prompt": "你是{{char}}。",
                        "greeting": "你好，{{user}}。",
                        "examples": ["你会唱歌吗？"],
                        "refusal": "我不知道。",
                    }
                }
            }
        },
    },
}


def as_bytes(card: object) -> bytes:
    return json.dumps(card).encode()


def png(texts: dict[str, str] | None = None) -> bytes:
    info = PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, value)
    target = io.BytesIO()
    Image.new("RGB", (4, 4), "pink").save(target, "PNG", pnginfo=info)
    return target.getvalue()


@pytest.mark.parametrize("raw", [V1, V2, V3], ids=["v1", "v2", "v3"])
def test_every_version_is_read(raw):
    card = parse_card(as_bytes(raw))
    assert card.data.name == "Eden"
    english = card.localized("en", user="Mei")
    assert english.greeting == f"Hello Mei, I am {english.name}."
    assert english.examples == ("Who are you?", "Sing!")


@pytest.mark.parametrize("raw", [V2, V3], ids=["v2", "v3"])
def test_unknown_keys_and_extensions_are_kept(raw):
    assert json.loads(parse_card(as_bytes(raw)).to_json()) == raw


def test_v1_becomes_the_shape_of_v2_with_every_key():
    written = json.loads(parse_card(as_bytes({**V1, "extra": 1})).to_json())
    assert written["data"] == {**V1, "extra": 1}


def test_the_texts_of_a_language_come_first_and_the_plain_fields_are_the_fallback():
    card = parse_card(as_bytes(V3))
    chinese = card.localized("zh")
    assert chinese.name == "伊甸"
    assert chinese.system_prompt == "你是伊甸。"
    assert chinese.greeting == "你好，舰长。"
    assert chinese.examples == ("你会唱歌吗？",)
    assert chinese.refusals == ("我不知道。",)
    english = card.localized("en")
    assert english.name == "E"
    assert english.system_prompt == "You are E."
    assert card.languages == ("zh",)


def test_without_a_system_prompt_description_and_personality_stand_in():
    assert parse_card(as_bytes(V1)).localized("en").system_prompt == "Eden sings.\ncalm"


def test_a_name_with_backslashes_is_put_in_as_it_is():
    assert parse_card(as_bytes({**V1, "name": r"\1\g<0>"})).localized("en").greeting == r"Hello you, I am \1\g<0>."


def test_a_png_gives_back_the_card_that_was_put_in(tmp_path: Path):
    card = parse_card(as_bytes(V3))
    target = tmp_path / "card.png"
    target.write_bytes(embed_card(png({"chara": "old", "Title": "kept?"}), card))
    assert load_card(target) == card
    with Image.open(target) as image:
        old = json.loads(base64.b64decode(image.text["chara"]))
    assert old["spec"] == "chara_card_v2"
    assert old["data"] == V3["data"]


def test_of_two_cards_in_a_png_v3_is_read():
    texts = {"chara": V2, "ccv3": V3}
    content = png({key: base64.b64encode(as_bytes(value)).decode() for key, value in texts.items()})
    assert parse_card(content).spec == "chara_card_v3"


def test_a_card_after_the_pixels_is_found():
    """Some programs append the text chunk at the end, where Pillow looks only when asked for all of it."""
    plain = png()
    text = b"tEXtchara\x00" + base64.b64encode(as_bytes(V2))
    import zlib

    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    end = plain.index(b"IEND") - 4
    assert parse_card(plain[:end] + chunk + plain[end:]).data.name == "Eden"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no valid JSON"),
        (b"\xff\xfe\x00", "no valid JSON"),
        (b"[1]", "a list instead"),
        (b"[" * 100_000, "no valid JSON"),
        (b'{"a": 1}', "neither 'spec'"),
        (b'{"spec": "chara_card_v9", "data": {}}', "spec 'chara_card_v9'"),
        (b'{"spec": "chara_card_v2", "data": {"description": "x"}}', "data.name"),
        (b'{"spec": "chara_card_v2", "data": {"name": ""}}', "data.name"),
        (b'{"spec": "chara_card_v2", "data": []}', "data"),
        (png(), "carries no character card"),
        (png({"chara": "not base64!"}), "not base64"),
        (png({"chara": base64.b64encode(b"{").decode()}), "no valid JSON"),
        (png()[:30], "broken PNG"),
    ],
)
def test_a_broken_card_is_told_in_one_line(content: bytes, says: str):
    with pytest.raises(CardError, match=says) as caught:
        parse_card(content, "eden")
    assert "eden" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(CardError, match="No such file"):
        load_card(tmp_path / "none.json")


def test_languages_of_the_wrong_shape_are_told():
    raw = {**V3, "data": {**V3["data"], "extensions": {"elysia_chat": {"languages": {"zh": {"examples": 1}}}}}}
    with pytest.raises(CardError, match="examples"):
        parse_card(as_bytes(raw))


def test_only_a_png_takes_a_card():
    with pytest.raises(CardError, match="PNG"):
        embed_card(b"GIF89a", parse_card(as_bytes(V1)))
