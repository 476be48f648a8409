"""Both languages say the same things."""

import string
from dataclasses import asdict

import pytest

from elysia_chat.ui.web.texts import EN, ZH, preferred_language


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_is_there_in_both_languages_with_the_same_places():
    chinese, english = asdict(ZH), asdict(EN)
    for name, text in chinese.items():
        other = english[name]
        assert type(text) is type(other), name
        if isinstance(text, str):
            assert text, name
            assert places(text) == places(other), name
        elif isinstance(text, dict):
            assert text.keys() == other.keys(), name
        else:
            assert len(text) == len(other), name


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2, zh-TW;q=0.7", "zh"),
        ("fr,de;q=0.9,zh;q=0.1", "zh"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=nonsense,en", "en"),
    ],
)
def test_the_interface_follows_the_header(header, language):
    assert preferred_language(header) == language
