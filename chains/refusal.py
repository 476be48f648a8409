"""Tell whether an answer says that the answer is not known."""

import re

from elysia_chat.chains.prompt import cited_numbers

# Said of the material or of one's own knowledge: a refusal wherever it stands outside quotation marks.
_STRONG = re.compile(
    r"资料(?:里|中|上|内|库)?[^。！？，]{0,8}(?:没有|没|未|并未|查不到|找不到|不足)"
    r"|(?:记录|记载|档案|记忆|手边|乐土)[^。！？，]{0,10}(?:没有|没(?!错)|未|查不到|找不到)[^。！？，]{0,6}"
    r"|(?:没有|没|未|未能)(?:在资料|找到|查到|提到|提及|说明|记载|写到|留在|相关)"
    r"|(?:我|真的|这个|这一点|也|实在|恕)[^。！？，“”]{0,6}(?:不知道|不清楚|不晓得|答不上来|不太清楚|无法回答|不能回答|无从得知)"
    r"|^[唔嗯哎呀啊，。…\s]*(?:不知道|不清楚|没有查到|无可奉告)"
    r"|(?:难住|问倒)(?:我|了)"
    r"|资料不足|不敢乱说|不好乱猜|不能乱说|不想随便编|没有记载"
    r"|\bI (?:really |honestly |simply )?(?:don't|do not|didn't|wouldn't) (?:know|have (?:that|any)|remember that)"
    r"|\bI(?:'m| am) (?:afraid|sorry)[^.!?]{0,20}(?:don't|do not|can't|cannot|could not|couldn't|no )"
    r"|\bI (?:can't|cannot|could not|couldn't) (?:find|answer|say|tell)"
    r"|\b(?:passages?|records?|notes?|material|lore|documents?|texts?|information)\b[^.!?]{0,30}"
    r"(?:do not|don't|does not|doesn't|say nothing|says nothing|silent|nothing about)"
    r"|\b(?:no|not enough) (?:record|information|mention)\b|isn't (?:written|kept|mentioned|recorded|there)"
    r"|is not (?:written|kept|mentioned|recorded|in the)|nothing about (?:it|that)|not a word about"
    r"|stumped me|rather not guess|don't know everything|you'll be the first to hear|won't make something up",
    re.IGNORECASE | re.MULTILINE,
)
# Could also be part of a fact: a refusal only where no passage is named.
_WEAK = re.compile(
    r"不知道|不清楚|不记得|没有提|没有写|没写|没提|没说|没有说|不晓得|无法确定|无法回答|没有相关"
    r"|don't know|do not know|not know|no idea|unknown|not mentioned|doesn't say|does not say|can't find|cannot find",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"“[^”]*”|「[^」]*」|『[^』]*』|\"[^\"]*\"")


def is_refusal(text: str) -> bool:
    """Tell whether an answer says that it does not know, in Chinese or English.

    Words in quotation marks are somebody else's and do not count. An answer that names a passage states a fact, unless
    it says plainly that the material holds none.
    """
    plain = _QUOTED.sub("“”", text.replace("’", "'"))
    if not plain.strip():
        return False
    cited = bool(cited_numbers(text))
    if cited:
        uncited = "".join(part for part in re.split(r"(?<=[。！？.!?])", plain) if not cited_numbers(part))
        return bool(
            re.search(
                r"资料[^。！？，]{0,6}(?:没有|没|未)|passages?[^.!?]{0,20}(?:do not|don't|does not|doesn't)", plain
            )
        ) and not _states(uncited, plain)
    return bool(_STRONG.search(plain) or _WEAK.search(plain))


def _states(uncited: str, plain: str) -> bool:
    """Tell whether, beside what is said of the material, a sentence with a passage's number states something."""
    named = [part for part in re.split(r"(?<=[。！？!?])", plain) if cited_numbers(part)]
    about = re.compile(
        r"资料[^。！？，]{0,6}(?:没有|没|未)|passages?[^.!?]{0,20}(?:do not|don't|does not|doesn't)", re.IGNORECASE
    )
    return any(not about.search(part) for part in named) and not about.search(uncited)
