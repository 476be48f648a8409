"""Speech as the page's visitor hears it: seconds to the first sound, and the silences between the sentences.

    python benchmarks/page_speech.py [--runs N] [--json FILE]

A real page on the embedded model and voices, a real browser, and the sounds that reached it: the time from the key that
sends a message to the first sound, and from the end of each sound to the begin of the next. Needs a data folder that is
ready (`elysia-chat ingest` once) and Chromium. The page itself takes the times, and stands without its animations: a
watcher that asks each frame, and frames drawn without a GPU, would take the cores that are measured.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from elysia_chat.configs.loader import load_settings
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.launch import serve

QUESTIONS = (
    "你好，能介绍一下你自己吗？",
    "樱的妹妹是谁？",
    "黄金庭院里都有些什么？",
    "今天有点难过，想和你说说话。",
    "Could you tell me who you are?",
    "Who is Eden, and what does she like?",
)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE_MS = 180_000
_GAP = 0.15
_POLL_MS = 250
_TAKE_TIMES = """() => {
  const heard = elysiaVoice.heard, push = heard.push;
  heard.push = (...sounds) => { window.firstSound ??= performance.now(); return push.apply(heard, sounds); };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { window.asked = performance.now(); window.firstSound = undefined; }
  }, true);
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as for the chat")
    parser.add_argument("--json", type=Path, help="write the result here as well")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        sys.exit("This needs Chromium: apt-get install chromium")
    services = Services(load_settings(overrides=["server.port=0", "voice.cache_mb=0", *arguments.set]))
    services.ingest()
    services.speech.load()
    with serve(services) as url, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(locale="en-GB", reduced_motion="reduce")
        page.goto(url)
        page.wait_for_selector(".readiness:not(.busy)", timeout=_PATIENCE_MS)
        page.evaluate(_TAKE_TIMES)
        listen(page, QUESTIONS[0])
        rows = [listen(page, question) for _ in range(arguments.runs) for question in QUESTIONS]
        chromium.close()
    services.close()
    result = {
        "rows": rows,
        "median_first_sound_s": round(statistics.median(row["first_sound_s"] for row in rows), 2),
        "gaps": sum(row["sentences"] - 1 for row in rows),
        f"gaps_longer_than_{_GAP}_s": sum(gap > _GAP for row in rows for gap in row["gaps_s"]),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def listen(page: Page, question: str) -> dict[str, Any]:
    """Ask, wait until the answer has been heard to its end, and return when what was heard."""
    before = page.evaluate("elysiaVoice.heard.length")
    answered = page.locator("#history .exchange .replies").count()
    page.locator("#box textarea").fill(question)
    page.keyboard.press("Enter")
    for condition in (
        f"elysiaVoice.heard.length > {before}",
        f"document.querySelectorAll('#history .exchange .replies').length > {answered}",
        "!document.body.classList.contains('speaking')",
    ):
        page.wait_for_function(condition, timeout=_PATIENCE_MS, polling=_POLL_MS)
    first = page.evaluate("(firstSound - asked) / 1000")
    # The last sentences may come after a silence.
    page.wait_for_timeout(3000)
    page.wait_for_function("!document.body.classList.contains('speaking')", timeout=_PATIENCE_MS, polling=_POLL_MS)
    heard = page.evaluate("elysiaVoice.heard")[before:]
    gaps = [after["start"] - earlier["start"] - earlier["seconds"] for earlier, after in pairwise(heard)]
    return {
        "question": question,
        "first_sound_s": round(first, 2),
        "sentences": len(heard),
        "speech_s": round(sum(item["seconds"] for item in heard), 2),
        "gaps_s": [round(gap, 3) for gap in gaps],
    }


if __name__ == "__main__":
    main()
