"""English text to what is said: numbers, units, abbreviations and symbols as words."""

import re
from collections.abc import Callable

from elysia_chat.voice.speech_text_wetext import normalise

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TENS = ("", "tens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_CENTURIES = {"16": "sixteen", "17": "seventeen", "18": "eighteen", "19": "nineteen", "20": "twenty"}
_ROMAN = {
    numeral: number
    for number, numeral in enumerate(
        ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV"), start=1
    )
}
_UNITS = {"m/s": "meters per second", "kHz": "kilohertz", "mL": "milliliters", "L": "liters", "g": "grams",
          "dB": "decibels", "kWh": "kilowatt hours", "mAh": "milliamp hours", "m": "meters", "V": "volts", "W": "watts",
          "hPa": "hectopascals", "kPa": "kilopascals", "fps": "frames per second", "ppm": "parts per million",
          "GB/s": "gigabytes per second", "MB/s": "megabytes per second", "mph": "miles per hour"}  # fmt: skip
_MONEY = {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds"), "¥": ("yen", "yen")}
_CENTS = {"$": "cents", "€": "cents", "£": "pence"}
_MAGNITUDES = {"M": "million", "B": "billion"}

Replacement = str | Callable[[re.Match[str]], str]


def _decade(found: re.Match[str]) -> str:
    century, tens = found.group(1), int(found.group(2))
    if tens == 0:
        return "two thousands" if century == "20" else f"{_CENTURIES[century]} hundreds"
    return f"{_CENTURIES[century]} {_TENS[tens]}"


def _digits(found: re.Match[str]) -> str:
    return ", ".join(" ".join(group) for group in re.split(r"[-. ]", found.group()))


def _money(found: re.Match[str]) -> str:
    """Write an amount as number and name; wetext leaves the "one" out of one thousand five hundred dollars."""
    sign, whole, part = found.groups()
    one, many = _MONEY[sign]
    amount = f"{whole} {one if whole == '1' else many}"
    return amount if not part or not int(part) else f"{amount} and {int(part.ljust(2, '0'))} {_CENTS.get(sign, '')}"


def _measure(found: re.Match[str]) -> str:
    number, unit = found.group(1), _UNITS[found.group(2)]
    if number == "1":
        unit = re.sub(r"^(\w+?)s\b", r"\1", unit)
    return f"{number} {unit}"


_RULES: tuple[tuple[re.Pattern[str], Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bet al\.", "and others"),
        (r"\betc\.", "et cetera"),
        (r"\be\.g\.,?", "for example,"),
        (r"\bi\.e\.,?", "that is,"),
        (r"\bvs\.?(?=\s)", "versus"),
        (r"\bapprox\.", "approximately"),
        (r"\b(?:[Nn]os?|NO)\.\s?(?=\d)", "number "),
        (r"\bSt\.\s(?=[A-Z])", "Saint "),
        (r"\b[Vv]ol\.\s?(?=\d)", "volume "),
        (r"\b[Ff]igs?\.\s?(?=\d)", "figure "),
        (r"\bpp?\.\s?(?=\d)", "page "),
        (r"\b[Cc]h\.\s?(?=\d)", "chapter "),
        (r"\bJr\.", "Junior"),
        (r"\bSr\.", "Senior"),
        (r"#(?=\d)", "number "),
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"\b(\d{3}[-. ])?\d{3}[-.]\d{4}\b", _digits),
        (r"\b24/7\b", "twenty four seven"),
        (r"\b50/50\b", "fifty fifty"),
        (r"\b9/11\b", "nine eleven"),
        (r"\b(1[6-9]|20)(\d)0'?s\b", _decade),
        (r"\b(1[1-9]|20)(\d\d)\s?[-–]\s?(1[1-9]|20)(\d\d)\b", r"\1\2 to \3\4"),
        (r"(\d+(?:\.\d+)?)\s?([€£¥])", r"\2\1"),
        (r"(?<![\w.])([$€£]?)(\d+(?:\.\d+)?)k\b", lambda found: f"{found.group(1)}{float(found.group(2)) * 1000:.0f}"),
        (r"(?<![\w.])([$€£]?\d+(?:\.\d+)?)([MB])\b", lambda found: f"{found.group(1)} {_MAGNITUDES[found.group(2)]}"),
        (r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])", lambda found: found.group().replace(".", " point ")),
        (r"\^2\b", " squared"),
        (r"\^3\b", " cubed"),
        (r"\^(?=\w)", " to the power of "),
        (r"(?<!US)([$€£¥])(\d+)(?:\.(\d\d?))?(?!\.?\d|\s(?:thousand|million|billion|trillion))", _money),
        (r"\b(Chapter|Part|Act|Scene|Volume|Book|Section|War|chapter|part|act|scene|volume|book|section)\s([IVX]+)\b",
         lambda found: f"{found.group(1)} {_ROMAN.get(found.group(2), found.group(2))}"),
        (rf"(?<![\w.])(\d+(?:\.\d+)?)\s?({'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})(?![\w/'])",
         _measure),
        (r"(?<![\w.])[~≈]\s?(?=\d)", "about "),
        (r"(?<![\w.])\+\s?(?=\d)", "plus "),
        (r"±\s?(?=\d)", "plus or minus "),
        (r"(?<=\d)\s?×\s?(?=\d)", " times "),
        (r"(?<=\d)\s?÷\s?(?=\d)", " divided by "),
        (r"(?<=\w)\+\+", " plus plus"),
        (r"(?<=\w)\s?\+\s?(?=\w)", " plus "),
        (r"\s<\s(?=\d)", " less than "),
        (r"\s>\s(?=\d)", " greater than "),
        (r"½", " one half "),
        (r"¼", " one quarter "),
        (r"¾", " three quarters "),
        (r"‰", " per thousand"),
        (r"\bw/o\b", "without"),
        (r"\bw/", "with "),
        (r"\band/or\b", "and or"),
        (r"\s?=\s?", " equals "),
    )
)  # fmt: skip
_AFTER: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b(doctor|Mister|Misses|number|Number|Saint)\.(?=\s)", r"\1"),
        (r"(?<=[a-z])[:](?=[a-z])", " "),
        (r",(?=\S)", ", "),
        (r"(?<=[^\W\d])/(?=[^\W\d])", " or "),
        (r"²", " squared"),
        (r"³", " cubed"),
        (r"…", "... "),
        (r"[，、]", ", "),
        (r"。", ". "),
        (r"！", "! "),
        (r"？", "? "),
        (r"[；;]", "; "),
        (r"：", ": "),
        (r"\s-+\s", ", "),
        (r"[^\w\s'.,!?;:-]|_", " "),
        (r"(?<!\w)-|-(?!\w)", " "),
        (r"\s+(?=[.,!?;:])", ""),
        (r"\s+", " "),
    )
)
_GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "Δ": "delta", "ε": "epsilon", "θ": "theta",
          "λ": "lambda", "μ": "mu", "π": "pi", "σ": "sigma", "Σ": "sigma", "φ": "phi", "ω": "omega",
          "Ω": "omega"}  # fmt: skip


def english(text: str) -> str:
    """Return English text as words, apostrophes and the marks . , ! ? ; : - alone."""
    text = re.sub(f"[{''.join(_GREEK)}]", lambda letter: f" {_GREEK[letter.group()]} ", text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = normalise(re.sub(r"[#^{}\\\"]", " ", text), "en")
    text = re.sub(r"\d", lambda digit: f" {_DIGITS[int(digit.group())]} ", text)
    for pattern, replacement in _AFTER:
        text = pattern.sub(replacement, text)
    return text.strip().lstrip(".,!?;: ")
