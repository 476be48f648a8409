"""How well the voices are understood, and how fast they speak.

    python benchmarks/speech.py --json speech.json
    python benchmarks/speech.py --voices xiaoxiao --skip-listening

Twenty sentences of each language are spoken by its voice with one thread, written down by Whisper base, and compared:
English by words, Mandarin by syllables without tones. The real-time factor is computing time over length of the speech,
once by the clock and once in the computing thread's own time, which leaves out waiting for a core that others use.
"First" is from the text to the sound of the first sentence, with the voice already loaded.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _listening import Listener

from elysia_chat.voice.audio import encode
from elysia_chat.voice.registry import find_voice, load_engine
from elysia_chat.voice.speaker import Speaker

SENTENCES = {
    "zh": (
        "昨天晚上下了一场大雨，院子里的石头路还是湿的。",
        "妈妈在厨房里煮汤，整个屋子都是香味。",
        "请把窗户打开，让新鲜的空气进来。",
        "火车会在下午3:45到站，我们还有二十分钟。",
        "这本书一共有365页，我已经读了一半。",
        "他从小就喜欢画画，最喜欢画的是大海。",
        "山顶上的雪到了六月才会慢慢融化。",
        "如果明天不下雨，我们就去公园放风筝。",
        "老师说，每个人都有自己的长处。",
        "弟弟把玩具藏在床底下，谁也找不到。",
        "你知道月亮为什么会跟着我们走吗？",
        "商店的门口排着长长的队，大家都在等新鲜的面包。",
        "音乐会结束以后，掌声响了很久。",
        "爷爷每天早上六点起床，先喝一杯温水。",
        "那只小猫看起来很饿，我们给它买点吃的吧。",
        "从学校到我家大约有2.5公里。",
        "秋天到了，树上的叶子一片一片地落下来。",
        "请不要担心，所有的问题都会解决的。",
        "今年夏天的温度比去年高了3℃。",
        "谢谢你一直相信我，我不会让你失望。",
    ),
    "en": (
        "The old clock in the hallway stopped at midnight.",
        "My sister bought three apples and a loaf of bread this morning.",
        "Please close the door before the cold wind comes in.",
        "The train to the coast leaves at 7:30 and takes two hours.",
        "We painted the kitchen yellow because it looked so dark.",
        "Nobody knew where the key was, so we waited outside.",
        "He has lived in this village for more than twenty years.",
        "If the rain stops soon, we can still play in the park.",
        "Our teacher told us a story about a fox and a clever crow.",
        "The museum is open every day except Monday.",
        "I forgot my umbrella, and now my shoes are wet.",
        "The children built a castle out of sand and shells.",
        "She plays the piano every evening after dinner.",
        "The soup needs a little more salt and some fresh pepper.",
        "There are 365 days in a year, and every one of them counts.",
        "Could you tell me how to get to the nearest station?",
        "The mountain was covered with snow until the middle of May.",
        "Do not worry, everything will be all right in the end.",
        "A small bird sat on the fence and sang for an hour.",
        "Thank you for listening; you have been a great help.",
    ),
}
DEFAULT_VOICES = ("xiaoyi", "xiaoxiao", "joe")


def measure(
    name: str, speaker: str | None, threads: int, listener: Listener | None, keep: Path | None
) -> dict[str, Any]:
    """Return the figures of one voice, in the language that it speaks best."""
    language = next(known for known in find_voice(name).info.languages if known in SENTENCES)
    start = time.perf_counter()
    engine = load_engine(name, speaker=speaker, threads=threads)
    voice = Speaker({language: engine})
    voice.speak(SENTENCES[language][0])
    result: dict[str, Any] = {"voice": name, "language": language, "ready_s": time.perf_counter() - start}
    rows, first = [], []
    for number, sentence in enumerate(SENTENCES[language]):
        wall, own = time.perf_counter(), time.thread_time()
        audio = voice.speak(sentence)
        wall, own = time.perf_counter() - wall, time.thread_time() - own
        if audio is None:
            msg = f"the voice '{name}' says nothing for: {sentence}"
            raise SystemExit(msg)
        first.append(wall)
        row: dict[str, Any] = {"sentence": sentence, "audio_s": audio.seconds, "wall_s": wall, "thread_s": own}
        if keep is not None:
            (keep / f"{name}_{number:02}.wav").write_bytes(encode(audio, "wav"))
        if listener is not None:
            heard = listener.listen(audio, sentence, language)
            row |= {"heard": heard.heard, "errors": heard.errors, "units": heard.units}
        rows.append(row)
    seconds = sum(row["audio_s"] for row in rows)
    result |= {
        "audio_s": seconds,
        "real_time_factor": sum(row["wall_s"] for row in rows) / seconds,
        "real_time_factor_thread": sum(row["thread_s"] for row in rows) / seconds,
        "first_s": statistics.median(first),
        "rows": rows,
    }
    if listener is not None:
        result["error_rate"] = sum(row["errors"] for row in rows) / sum(row["units"] for row in rows)
    return result


def show(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        if row.get("errors"):
            print(f"    {row['errors']} of {row['units']}: {row['sentence']}\n       heard: {row['heard']}")
    errors = f"{result['error_rate']:.1%}" if "error_rate" in result else "not measured"
    print(
        f"{result['voice']} ({result['language']}): error {errors}, real-time factor {result['real_time_factor']:.2f} "
        f"({result['real_time_factor_thread']:.2f} of its thread), a sentence after {result['first_s']:.2f} s, "
        f"ready after {result['ready_s']:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", nargs="+", default=list(DEFAULT_VOICES), help="names, one's own among them")
    parser.add_argument("--speaker", help="of a voice with several")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-listening", action="store_true", help="measure speed alone")
    parser.add_argument("--keep", type=Path, help="write the speech into this folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    listener = None if options.skip_listening else Listener()
    results = []
    for name in options.voices:
        results.append(measure(name, options.speaker, options.threads, listener, options.keep))
        show(results[-1])
    if options.json:
        machine = {"platform": platform.machine(), "threads": options.threads}
        content = json.dumps({"voices": results, "machine": machine}, ensure_ascii=False, indent=2)
        options.json.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
