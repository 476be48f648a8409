"""Words, names and values, drawn afresh for every world so that nothing can be learned by heart."""

from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

LANGUAGES = ("zh", "en")
KINDS = ("person", "place", "group", "item", "life", "event")
_DIGITS = "零一二三四五六七八九十"
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_EN_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_TENS = ["x", "x", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


@cache
def template_file(name: str) -> Any:
    """Return the content of one of the YAML files beside this module."""
    source = files(__package__).joinpath("templates", f"{name}.yaml")
    return yaml.load(source.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (a safe loader either way)


@cache
def words(language: str, key: str) -> tuple[str, ...]:
    """Return a list of words."""
    return tuple(
        part.strip() if key != "place_pre" else part for part in template_file("words")[language][key].split("|")
    )


def pick(rng: Random, language: str, key: str) -> str:
    """Draw one word of a list."""
    return rng.choice(words(language, key))


def zh_number(number: int) -> str:
    """Write a number below 1,000 in Chinese."""
    if number <= 10:
        return _DIGITS[number]
    if number < 20:
        return "十" + (_DIGITS[number - 10] if number > 10 else "")
    if number < 100:
        return _DIGITS[number // 10] + "十" + (_DIGITS[number % 10] if number % 10 else "")
    rest = number % 100
    tail = ("一" + zh_number(rest) if 10 <= rest < 20 else zh_number(rest)) if rest else ""
    return _DIGITS[number // 100] + "百" + ("零" if 0 < rest < 10 else "") + tail


def en_number(number: int) -> str:
    """Write a number below 1,000 in English."""
    if number <= 20:
        return _EN_NUMBERS[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_EN_NUMBERS[number % 10]}" if number % 10 else "")
    rest = number % 100
    return f"{_EN_NUMBERS[number // 100]} hundred" + (f" and {en_number(rest)}" if rest else "")


def number(rng: Random, language: str, low: int, high: int) -> str:
    """Write a random number in digits or in words."""
    value = rng.randint(low, high)
    if value < 1000 and rng.random() < 0.45:
        return zh_number(value) if language == "zh" else en_number(value)
    return f"{value:,}" if value >= 1000 and language == "en" and rng.random() < 0.6 else str(value)


def year(rng: Random, language: str) -> str:
    """Draw a year of one of many calendars."""
    if language == "zh":
        calendar = rng.choice(("", "", "", "新历", "王国历", "帝国历", "星历", "前纪元", "第三纪"))
        if rng.random() < 0.15:
            return f"开{rng.choice('渠港城国')}后第{zh_number(rng.randint(2, 120))}年"
        if rng.random() < 0.1:
            return f"{pick(rng, 'zh', 'surname')[0]}{rng.choice('宁和安元泰平')}{zh_number(rng.randint(2, 40))}年"
        return f"{calendar}{rng.randint(3, 2300)}年"
    form = rng.choice(("{}", "{}", "{}", "the year {}", "{} of the new calendar", "year {} of the Third Age", "AF {}"))
    return form.format(rng.randint(101, 2300))


def day(rng: Random, language: str) -> str:
    """Draw a day of the year."""
    month, date = rng.randint(1, 12), rng.randint(1, 28)
    if language == "zh":
        if rng.random() < 0.3:
            return f"{zh_number(month)}月{zh_number(date)}{rng.choice('日号')}"
        return rng.choice((f"{month}月{date}日", f"{month}月{date}日", f"农历{zh_number(month)}月{zh_number(date)}日"))
    name = _MONTHS[month - 1]
    return rng.choice(
        (f"{name} {date}", f"{date} {name}", f"the {date}th of {name}" if 3 < date < 21 else f"{name} {date}")
    )


def duration(rng: Random, language: str) -> str:
    """Draw a span of time."""
    if language == "zh":
        return number(rng, "zh", 3, 60) + rng.choice(("天", "年", "个月", "个小时", "周"))
    return f"{number(rng, 'en', 2, 60)} {rng.choice(('days', 'years', 'months', 'hours', 'weeks'))}"


def quantity(rng: Random, language: str, low: int, high: int, zh_units: str, en_units: str) -> str:
    """Draw a number with one of the units, separated by spaces in the arguments."""
    if language == "zh":
        return number(rng, language, low, high) + rng.choice(zh_units.split())
    return f"{number(rng, language, low, high)} {rng.choice(en_units.split('/'))}"


def person_name(rng: Random, language: str) -> str:
    """Draw a person's name."""
    if language == "zh":
        form = rng.random()
        if form < 0.42:
            return pick(rng, "zh", "surname") + "".join(rng.sample(words("zh", "given"), rng.choice((1, 2, 2))))
        if form < 0.85:
            first = "".join(rng.sample(words("zh", "translit"), rng.choice((2, 3, 3, 4))))
            if rng.random() < 0.25:
                return f"{first}·{''.join(rng.sample(words('zh', 'translit'), rng.choice((2, 3))))}"
            return first
        return rng.choice(("阿", "老", "小")) + pick(rng, "zh", "given")
    form = rng.random()
    if form < 0.45:
        return f"{pick(rng, 'en', 'first')} {pick(rng, 'en', 'last')}"
    if form < 0.6:
        return pick(rng, "en", "first")
    made = "".join(rng.sample(words("en", "syllable"), rng.choice((2, 2, 3)))).capitalize()
    return made if form < 0.9 else f"{rng.choice(('Dr.', 'Captain', 'Lady', 'Master', 'Miss'))} {made}"


def place_name(rng: Random, language: str) -> str:
    """Draw the name of a place."""
    if language == "zh":
        head = pick(rng, "zh", "place_a")
        if rng.random() < 0.25:
            head = "".join(rng.sample(words("zh", "translit"), rng.choice((2, 3))))
        return head + pick(rng, "zh", "place_b")
    head = pick(rng, "en", "place_a")
    if rng.random() < 0.25:
        head = "".join(rng.sample(words("en", "syllable"), 2)).capitalize()
    return f"{head} {pick(rng, 'en', 'place_b')}"


def entity_name(rng: Random, kind: str, language: str) -> str:
    """Draw a name for a thing of a kind."""
    if kind == "person":
        return person_name(rng, language)
    if kind == "place":
        return place_name(rng, language)
    first, second = pick(rng, language, f"{kind}_a"), pick(rng, language, f"{kind}_b")
    if language == "zh":
        return f"「{first}{second}」" if kind == "item" and rng.random() < 0.15 else first + second
    article = "" if kind == "item" and rng.random() < 0.4 else "the "
    return f"{article}{first} {second}"


def _thing(rng: Random, language: str) -> str:
    adjective, material, noun = (pick(rng, language, key) for key in ("adjective", "material", "thing"))
    if language == "zh":
        return rng.choice(
            (f"一件{adjective}{noun}", f"{material}{noun}", f"{adjective}{material}{noun}", f"一个{adjective}{noun}")
        )
    head = rng.choice((f"{adjective} {noun}", f"{material} {noun}", f"{adjective} {material} {noun}"))
    return ("an " if head[0] in "aeiou" else "a ") + head


def _price(rng: Random, language: str) -> str:
    return quantity(
        rng,
        language,
        2,
        900,
        "枚银币 枚铜币 金币 个银角 两银子 信用点 元",
        "silver coins/coppers/gold crowns/credits/shillings",
    )


def _clock(rng: Random, language: str) -> str:
    hour = rng.randint(1, 12)
    if language == "zh":
        return rng.choice(("清晨", "早上", "傍晚", "夜里", "上午", "下午")) + rng.choice(
            (f"{zh_number(hour)}点", f"{hour}点", f"{zh_number(hour)}点半")
        )
    return rng.choice(
        (
            f"{hour} in the morning",
            f"{hour} in the afternoon",
            "dawn",
            "midnight",
            f"half past {en_number(hour)}",
            f"{en_number(hour)} in the evening",
        )
    )


def _joined(language: str, parts: list[str]) -> str:
    if language == "zh":
        return parts[0] if len(parts) == 1 else "、".join(parts[:-1]) + "和" + parts[-1]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def value(rng: Random, kind: str, language: str, people: list[str]) -> str:
    """Draw a value of a kind.

    Args:
        rng: the source of chance.
        kind: one of the kinds that the templates name.
        language: language of the text.
        people: names of the world's people in that language, for values that refer to them.
    """
    zh = language == "zh"

    def someone() -> str:
        return rng.choice(people) if people and rng.random() < 0.5 else person_name(rng, language)

    match kind:
        case "place":
            prefix = pick(rng, language, "place_pre") if rng.random() < 0.15 else ""
            return prefix + place_name(rng, language)
        case "placename":
            return place_name(rng, language)
        case "person":
            return someone()
        case "personlist":
            return _joined(language, [someone() for _ in range(rng.choice((2, 3, 3, 4)))])
        case "day":
            return day(rng, language)
        case "year":
            return year(rng, language)
        case "time":
            form = rng.random()
            if form < 0.55:
                return year(rng, language)
            if form < 0.75:
                return year(rng, language) + (pick(rng, "zh", "season") if zh else "")
            return day(rng, language) if form < 0.9 else pick(rng, language, "season")
        case "age":
            return number(rng, language, 6, 90) + "岁" if zh else f"{number(rng, language, 6, 90)} years"
        case "bodyheight":
            return f"{rng.randint(128, 205)}厘米" if zh else f"{rng.randint(128, 205)} cm"
        case "bodyweight":
            return quantity(rng, language, 30, 110, "公斤 千克", "kilos/kg")
        case "people":
            return number(rng, language, 2, 40) + rng.choice(("个", "名", "位")) if zh else number(rng, language, 2, 40)
        case "population":
            return number(rng, language, 40, 90000) + "人" if zh else number(rng, language, 40, 90000)
        case "count":
            return number(rng, language, 3, 400)
        case "area":
            return quantity(rng, language, 2, 900, "亩 平方米 公顷", "acres/square metres/hectares")
        case "length":
            return quantity(rng, language, 2, 400, "米 尺 厘米 丈", "metres/feet/cm")
        case "distance":
            return quantity(rng, language, 2, 90, "里 公里 天的路程 海里", "miles/kilometres/days on foot")
        case "weight":
            return quantity(rng, language, 2, 300, "斤 公斤 克 吨", "pounds/kilos/grams/tons")
        case "speed":
            return quantity(rng, language, 20, 900, "公里 里 海里", "kilometres an hour/knots")
        case "floors":
            return number(rng, language, 2, 30) + "层" if zh else f"{number(rng, language, 2, 30)} floors"
        case "duration":
            return duration(rng, language)
        case "price":
            return _price(rng, language)
        case "clock":
            return _clock(rng, language)
        case "rank":
            place = rng.randint(1, 13)
            return (
                f"第{zh_number(place)}{rng.choice(('位', '席'))}"
                if zh
                else rng.choice(
                    (
                        "first",
                        "second",
                        "third",
                        "fourth",
                        "fifth",
                        "sixth",
                        "seventh",
                        "eighth",
                        "ninth",
                        "tenth",
                        "eleventh",
                        "twelfth",
                        "thirteenth",
                    )
                )
            )
        case "thing":
            return _thing(rng, language)
        case "item" | "group":
            return entity_name(rng, kind, language)
        case "creature":
            return entity_name(rng, "life", language)
        case "nickname":
            first, second = pick(rng, language, "nick_a"), pick(rng, language, "nick_b")
            return first + second if zh else f"{first} {second}"
        case "ingredients":
            return _joined(language, rng.sample(words(language, "ingredient"), rng.choice((2, 3, 3, 4))))
        case "reason" | "outcome":
            return pick(rng, language, kind).replace("{P}", someone())
        case _:
            return pick(rng, language, kind)
