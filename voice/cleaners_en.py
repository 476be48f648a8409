"""English in the notations of VITS voices, from the phonemes of espeak-ng.

Voices of `english_cleaners2` were trained on such phonemes. Those of the cleaners for several languages were trained
on a pronouncing dictionary; espeak-ng's phonemes are brought into its manner, which is near but not the same.
"""

import re

from elysia_chat.voice.espeak import espeak_phonemes

_VOICE = "en-us"
_VOWEL = "aeiouæɑɔəɛɪʊ"
_DICTIONARY_SOUNDS = (
    ("ɜː", "əɹ"), ("ɚ", "əɹ"), ("ɝ", "əɹ"), ("ː", ""), ("ɐ", "ə"), ("ʌ", "ə"), ("ɜ", "ə"), ("ᵻ", "ɪ"), ("ɾ", "t"),
    ("ɡ", "g"), ("ɒ", "ɑ"), ("ʔ", "t"), ("n̩", "ən"), ("l̩", "əl"),
)  # fmt: skip
# In the dictionary's manner the stress stands before the syllable, in espeak's before the vowel.
_ONSET = re.compile(r"((?:[sʃ]?[ptkbdgfvθðhmn]?[ɹlwj]?|[tdsʃʒz]+|tʃ|dʒ))([ˈˌ])")
_DARK_L = re.compile(rf"l(?=[^{_VOWEL} ]*(?: |$))")


def espeak(text: str) -> str:
    """Return English as voices of `english_cleaners2` write it."""
    return espeak_phonemes(text, _VOICE)


def ipa(text: str) -> str:
    """Return English as voices of `cjke_cleaners2` write it."""
    return _DARK_L.sub("ɫ", _in_the_dictionary_manner(text)).replace("...", "…")


def plain_ipa(text: str) -> str:
    """Return English as voices of `cjke_cleaners` write it."""
    return ipa(text).translate(str.maketrans("ɑɔɛɪʊ", "aoeiu"))


def lazy_ipa(text: str) -> str:
    """Return English as voices of `cjks_cleaners` write it."""
    plain = _in_the_dictionary_manner(text).replace("dʒ", "ʥ").replace("tʃ", "ʧ")
    return plain.translate(str.maketrans("æɑɔðθɛɪʊʒˈ", "eaozseiuʥ↓"))


def _in_the_dictionary_manner(text: str) -> str:
    phonemes = espeak_phonemes(text, _VOICE)
    for espeaks, dictionarys in _DICTIONARY_SOUNDS:
        phonemes = phonemes.replace(espeaks, dictionarys)
    return _ONSET.sub(r"\2\1", phonemes)
