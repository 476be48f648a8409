"""Takes out of a sentence what is for the eye: Markdown, code, links, citations, stage directions, emoji, ornaments."""

import html
import re
import unicodedata

_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_SAME = str.maketrans({"％": "%", "＋": "+", "－": "-", "−": "-", "﹣": "-", "＝": "=", "＆": "&", "＠": "@", "／": "/",
                       "㎡": "m²", "㎞": "km", "㎝": "cm", "㎜": "mm", "㎏": "kg", "℉": "°F", "’": "'", "‘": "'",
                       "\u00a0": " ", "\u3000": " "})  # fmt: skip
# Circled and Roman numbers that are one character.
_NUMBERS = {code: str(int(unicodedata.numeric(chr(code)))) for code in (*range(0x2460, 0x2474), *range(0x2160, 0x2170))}
_SPOKEN_SYMBOLS = frozenset("^≈℃°©№+-=<>%‰&@/$€£¥￥₩~～²³½¼¾±×÷")

_CODE = re.compile(r"```.*?(?:```|$)|``.+?``|`[^`\n]+`", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_ADDRESS = re.compile(
    r"<?\b(?:[a-z][a-z+.-]{1,12}://|www\.)[^\s<>\"'“”‘’，。！？；、）】」』》\u3400-\u9fff]+>?"
    r"|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"
    r"|\b(?:[a-z0-9-]+\.)+[a-z]{2,}/[^\s，。！？；、）】」』》\u3400-\u9fff]*",
    re.IGNORECASE | re.ASCII,
)
_TAG = re.compile(r"</?[a-z][\w-]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_CITATION = re.compile(r"\s?(?:\[\^?\d{1,3}(?:\s?[,，、-]\s?\d{1,3})*\]|【\d{1,3}(?:†[^】]*)?】)")
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•·][ \t]+(?:\[[ xX]\][ \t]+)?)+", re.MULTILINE)
_LIST_NUMBER = re.compile(r"^[ \t]*(\d{1,2})[.)、][ \t]+", re.MULTILINE)
_RULE = re.compile(r"^[ \t|:]*(?:[-*_=][ \t|:]*){3,}$", re.MULTILINE)
_STRONG = re.compile(r"\*\*\*?(.+?)\*\*\*?|(?<!\w)__(.+?)__(?!\w)|~~(.+?)~~|(?<!\w)_([^_\n]+)_(?!\w)")
_STARRED = re.compile(r"\*([^*\n]+)\*")
_BRACKETED = re.compile(r"（([^（）]*)）|\(([^()]*)\)|\[([^\[\]]*)\]|【([^【】]*)】|〔([^〔〕]*)〕")
_EMOTICON = re.compile(
    r"(?<![\w])(?:[:;=8xX][-'^o]?[)(\]\[DPpOo3|/\\*]+|[\^>~=][_.\-]*[\^<~=]+|[TQ][_AwW][TQ]|[oO0][_.][oO0]|-_+-+|u_u|[oOuU]w[oOuU]"
    r"|<3+|XD+|orz|OTZ)(?![\w])"
)
_ORNAMENT = re.compile(r"\s*[♪♫♬♩～~*]+(?!\d)\s*")
_PRODUCT = re.compile(r"(?<=\d)\s*[*xX]\s*(?=\d)")
_RANGE = re.compile(r"(?<=[\d%℃°])\s*[～~]\s*(?=\d)")

# What a stage direction tells of, in Chinese and in English.
_ACTS = re.compile(
    r"笑|叹|眨|点头|摇头|歪头|低头|抬头|挥手|招手|拍手|鞠躬|脸红|害羞|沉默|停顿|凑近|靠近|转身|转圈|拥抱|抱住|看着|望着|望向|闭上|"
    r"睁|伸出|伸手|握|牵|摸|捂|跳|哼|哭|泪|语气|想了想|思考|愣|轻轻|悄悄|微微|缓缓|慢慢|小声|低声|大声|温柔地|开心地|音乐|掌声"
    r"|\b(?:smil|laugh|giggl|chuckl|wink|nod|sigh|wav(?:es?|ing)\b|blush|grin|bows?\b|shrug|paus|whisper|humm?|lean|tilt|look|"
    r"gaz|turn|twirl|hug|clap|beam|smirk|gasp|yawn|stretch|step|walk|reach|tak(?:es|ing)\b|hold(?:s|ing)\b|point|softly|gently|"
    r"sings?\b|singing|danc|music|applause|clears? (?:her|his|my) throat|shak|kneel|sits?\b|stand|run|jump|"
    r"cr(?:y|ies)|tear)",
    re.IGNORECASE,
)
_LONGEST_ACT = 60
_HAN = re.compile(r"[\u3400-\u9fff]")
_HAN_NAME = re.compile(r"[\u3400-\u9fff·]{1,10}")
_LATIN_NAME = re.compile(r"[A-Za-z\u00c0-\u024f'. -]{2,40}")
_CLAUSE_END = '。！？…；，、：.!?;,:♪～~\n”"』」）)'
_LETTER = re.compile(r"[^\W_]")
_WORDS = re.compile(r"[A-Za-z]{2,}|\d|[\u3400-\u9fff]")


def plain(sentence: str) -> str:
    """Return what of a sentence is to be said, as text without marks.

    What was in brackets and is said stands between commas; a name once more in the other script is not said; ornaments
    such as ♪ become pauses.
    """
    text = unicodedata.normalize("NFC", html.unescape(sentence)).translate(_FULL_WIDTH | _NUMBERS | _SAME)
    text = _CODE.sub(" ", text)
    text = _LINK.sub(r"\1", _IMAGE.sub(" ", text))
    text = _TAG.sub(" ", _ADDRESS.sub(" ", text))
    text = _CITATION.sub("", text)
    text = _RULE.sub(" ", text)
    text = _LIST_NUMBER.sub(r"\1, ", _LINE_START.sub("", text))
    text = _STRONG.sub(lambda found: next(group for group in found.groups() if group is not None), text)
    text = _STARRED.sub(_starred, text)
    text = _brackets(text)
    text = _EMOTICON.sub(" ", text)
    text = "".join(character for character in text if _is_spoken(character))
    text = _ORNAMENT.sub(_ornament, _RANGE.sub("-", _PRODUCT.sub("×", text)))
    text = re.sub(r"[#|\\{}<>_`*]|\^(?!\w)|(?<!\w)\^", " ", text)
    return _tidy(text)


def is_stage_direction(inside: str) -> bool:
    """Tell whether what stands in brackets or between asterisks tells what somebody does."""
    return len(inside) <= _LONGEST_ACT and _ACTS.search(inside) is not None


def _starred(found: re.Match[str]) -> str:
    inside, text = found.group(1), found.string
    before = text[: found.start()].rstrip(" \t")
    after = text[found.end() :].lstrip(" \t")
    alone = (not before or before[-1] in _CLAUSE_END) and (not after or text[found.end()] not in "，,。.！!？?；;：:")
    ends = not after and (not before or before[-1] in _CLAUSE_END)
    if is_stage_direction(inside) or ends or (alone and " " in inside.strip()):
        return " "
    return inside


def _brackets(text: str) -> str:
    """Drop stage directions and faces in brackets; other brackets become commas, innermost first."""
    while True:
        replaced = _BRACKETED.sub(_bracketed, text)
        if replaced == text:
            return re.sub(r"[()（）\[\]【】〔〕]", " ", text)
        text = replaced


def _bracketed(found: re.Match[str]) -> str:
    inside = next(group for group in found.groups() if group is not None).strip()
    if not _WORDS.search(inside) or is_stage_direction(inside) or _is_gloss(found.string[: found.start()], inside):
        return " "
    comma = "，" if re.search(r"[\u3400-\u9fff]", found.string) else ", "
    return f"{comma}{inside}{comma}"


def _is_gloss(before: str, inside: str) -> bool:
    """Tell whether brackets give a name once more in the other script: 铃（Rin）, Elysia (爱莉希雅)."""
    last = before.rstrip()[-1:]
    name = _LATIN_NAME if _HAN.fullmatch(last) else _HAN_NAME if last.isalpha() else None
    return name is not None and name.fullmatch(inside) is not None


def _is_spoken(character: str) -> bool:
    if character in _SPOKEN_SYMBOLS or character in "\n♪♫♬♩":
        return True
    return unicodedata.category(character) not in ("So", "Sk", "Sm", "Cc", "Cf", "Cn", "Co", "Cs", "Me", "Mn")


def _ornament(found: re.Match[str]) -> str:
    before = found.string[: found.start()].rstrip()
    after = found.string[found.end() :].lstrip()
    if not before or not after or before[-1] in _CLAUSE_END or after[0] in _CLAUSE_END:
        return " "
    return "，" if re.search(r"[\u3040-\u9fff]", before[-1]) else ", "


def _tidy(text: str) -> str:
    """Settle punctuation: no quotes, one mark where there were several, none at the beginning."""
    text = re.sub(r"[“”\"「」『』《》〈〉«»„]", "", text)
    text = re.sub(r"\s*(?:——+|—|–|--+)\s*(?!\d)", "，" if re.search(r"[\u3400-\u9fff]", text) else ", ", text)
    text = re.sub(r"[ \t]*\n+\s*", lambda found: _line_break(found), text)
    text = re.sub(r"…+|\.{2,}|。{2,}", "…", text)
    text = re.sub(r"[·・]+", " ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" (?=[，。！？；：、,.!?;:…](?!\d))", "", text)
    text = re.sub(r"(?<=[，。！？；：、…]) ", "", text)
    text = re.sub(r"[，、,：:；;]+ ?(?=[。！？.!?…；](?!\d))", "", text)
    text = re.sub(r"([，、,：:；;])(?: ?[，、,：:；;])+", r"\1", text)
    text = re.sub(r"([。！？.!?…])(?: ?[，、,：:；;])+", r"\1", text)
    text = re.sub(r"[。.…]*([！？!?])[。.！？!?…]*", r"\1", text)
    text = text.strip().lstrip("，。！？；：、,.!?;:… ")
    return text.strip() if _LETTER.search(text) else ""


def _line_break(found: re.Match[str]) -> str:
    before = found.string[: found.start()].rstrip()
    if not before or before[-1] in _CLAUSE_END:
        return " "
    return "。" if re.match(r"[\u3040-\u9fff]", before[-1]) else ". "
