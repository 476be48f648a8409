// Speech in the browser: fetches a reply's sentences in their order and plays them without gaps.
// The script may be inserted twice; it must listen once.
window.elysiaVoice ??= (() => {
  const MUTED = "elysia-chat-muted";
  const VOLUME = "elysia-chat-volume";
  const NOTHING_YET = 202;
  const LEAD = 0.04;
  let context, gain;
  let followed = "";
  let turn = 0;
  let ends = 0;
  const playing = new Set();
  // What was played, for whoever wants to know when: [{reply, number, start, seconds}], in the context's seconds.
  const heard = [];

  const kept = (key, otherwise) => {
    try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem(key, value); } catch { /* a private window may refuse */ }
  };
  const muted = () => kept(MUTED, "no") === "yes";
  const volume = () => Number(kept(VOLUME, "1"));
  const address = () => document.querySelector("#header header")?.dataset.voice;

  // Browsers let a page sound only after somebody has touched it.
  function wake() {
    if (!context) {
      context = new AudioContext();
      gain = context.createGain();
      gain.gain.value = volume();
      gain.connect(context.destination);
    }
    if (context.state === "suspended") context.resume();
  }

  function show() {
    document.body.classList.toggle("speaking", playing.size > 0);
    document.body.classList.toggle("muted", muted());
    document.querySelector('[data-client="sound"]')?.setAttribute("aria-pressed", String(muted()));
  }

  function hush() {
    turn += 1;
    for (const source of playing) {
      source.onended = null;
      source.stop();
    }
    playing.clear();
    ends = 0;
    show();
  }

  function stop() {
    hush();
    if (address()) fetch(`${address()}/stop`, { method: "POST" });
  }

  function schedule(sound, reply, number) {
    const source = context.createBufferSource();
    source.buffer = sound;
    source.connect(gain);
    const start = Math.max(ends, context.currentTime + LEAD);
    ends = start + sound.duration;
    source.onended = () => { playing.delete(source); show(); };
    playing.add(source);
    source.start(start);
    heard.push({ reply, number, start, seconds: sound.duration });
    show();
  }

  function tell(problem) {
    if (!problem) return;
    const line = document.querySelector("#voice-problem") || document.createElement("p");
    line.id = "voice-problem";
    line.className = "notice";
    line.setAttribute("role", "status");
    line.textContent = decodeURIComponent(problem);
    document.querySelector("#chat")?.append(line);
  }

  async function follow(reply) {
    hush();
    wake();
    document.querySelector("#voice-problem")?.remove();
    const mine = turn;
    for (let number = 0; mine === turn;) {
      const response = await fetch(`${address()}/${reply}/${number}`);
      if (mine !== turn) return;
      tell(response.headers.get("Speech-Problem"));
      if (response.status === NOTHING_YET) continue;
      if (response.status !== 200) return;
      number += 1;
      const bytes = await response.arrayBuffer();
      if (!bytes.byteLength) continue;
      const sound = await context.decodeAudioData(bytes);
      if (mine === turn) schedule(sound, reply, number - 1);
    }
  }

  async function again(button) {
    if (playing.size) return stop();
    const response = await fetch(`${address()}/again/${button.dataset.value}`, { method: "POST" });
    const { reply } = await response.json();
    if (reply) await follow(reply);
  }

  function toggle() {
    keep(MUTED, muted() ? "no" : "yes");
    if (muted()) stop();
    show();
  }

  function setVolume(value) {
    keep(VOLUME, String(value));
    if (gain) gain.gain.value = value;
  }

  // A reply that begins names its speech.
  function look() {
    const reply = document.querySelector("#live [data-speech]")?.dataset.speech;
    if (!reply || reply === followed) return;
    followed = reply;
    if (!muted() && address()) follow(reply);
  }

  document.addEventListener("pointerdown", wake, true);
  document.addEventListener("keydown", wake, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action], [data-client], #send, #stop");
    if (!button) return;
    const action = button.dataset.action || button.dataset.client || button.id;
    if (action === "sound") { event.stopPropagation(); toggle(); }
    if (action === "speak") { event.stopPropagation(); again(button); }
    if (["send", "stop", "ask", "retry", "undo", "new-chat"].includes(action)) hush();
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && event.target.matches("#box textarea") && event.target.value.trim()) hush();
  }, true);

  function start() {
    const live = document.querySelector("#live");
    if (live) new MutationObserver(look).observe(live, { childList: true, subtree: true, attributes: true });
    const header = document.querySelector("#header");
    if (header) new MutationObserver(show).observe(header, { childList: true, subtree: true });
    show();
    return volume();
  }

  return { start, hush, setVolume, heard };
})();
