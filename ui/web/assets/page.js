// What the browser does by itself: the drawer, the look, copying, confirming, filtering, and staying at the end.
// The script may be inserted twice; it must listen once.
window.elysia ??= (() => {
  const LOOK = "elysia-chat-look";
  const NEAR = 140;
  let pinned = true;

  const stored = () => {
    try { return localStorage.getItem(LOOK) || "auto"; } catch { return "auto"; }
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function applyLook() {
    const look = stored();
    const isDark = look === "dark" || (look === "auto" && dark.matches);
    document.body.classList.toggle("dark", isDark);
    document.documentElement.style.colorScheme = isDark ? "dark" : "light";
  }

  function setLook(look) {
    try { localStorage.setItem(LOOK, look); } catch { /* a private window may refuse */ }
    applyLook();
  }

  function toggleDrawer(open) {
    document.querySelector("#drawer")?.classList.toggle("open", open);
  }

  function toEnd() {
    window.scrollTo({ top: document.documentElement.scrollHeight });
  }

  async function copy(button) {
    const text = button.closest(".body").querySelector(".text").innerText;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  }

  function download(file) {
    if (!file) return;
    const { name, text } = JSON.parse(file);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function filter(input) {
    const words = input.value.trim().toLowerCase();
    for (const row of input.closest("#table").querySelectorAll("tr[data-words]")) {
      row.hidden = !row.dataset.words.includes(words);
    }
  }

  // Capturing, so that a click which is refused here never reaches the component that would send it.
  document.addEventListener("click", (event) => {
    const asked = event.target.closest("[data-confirm]");
    if (asked && !confirm(asked.dataset.confirm)) {
      event.stopImmediatePropagation();
      return;
    }
    const button = event.target.closest("[data-action], [data-client], #send");
    if (!button) {
      if (!event.target.closest("#drawer")) toggleDrawer(false);
      return;
    }
    const action = button.dataset.action || button.dataset.client || "send";
    if (action === "settings") { event.stopPropagation(); toggleDrawer(); }
    if (action === "close-drawer") toggleDrawer(false);
    if (action === "copy") { event.stopPropagation(); copy(button); }
    if (["send", "ask", "retry"].includes(action)) pinned = true;
    if (action === "edit") document.querySelector("#box textarea")?.focus();
    if (action === "preview") afterChange("#preview", (preview) => preview.scrollIntoView({ block: "nearest" }));
  }, true);

  document.addEventListener("input", (event) => {
    if (event.target.matches("#table .filter")) filter(event.target);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") toggleDrawer(false);
    if (event.key === "Enter" && event.target.matches("#box textarea")) pinned = true;
  });

  function afterChange(selector, then) {
    const element = document.querySelector(selector);
    if (!element) return;
    const observer = new MutationObserver(() => { observer.disconnect(); then(element); });
    observer.observe(element, { childList: true, subtree: true, characterData: true });
    setTimeout(() => observer.disconnect(), 5000);
  }

  window.addEventListener("scroll", () => {
    const left = document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
    pinned = left < NEAR;
  }, { passive: true });

  // The fonts choose the shapes of Chinese characters by the language of the page.
  function applyLanguage() {
    const header = document.querySelector("#header header");
    if (header) document.documentElement.lang = header.lang;
  }

  function start() {
    applyLook();
    const header = document.querySelector("#header");
    if (header) new MutationObserver(applyLanguage).observe(header, { childList: true, subtree: true, attributeFilter: ["lang"] });
    if (matchMedia("(hover: hover)").matches) document.querySelector("#box textarea")?.focus();
    dark.addEventListener("change", applyLook);
    const [chat, composer] = ["#chat", "#composer"].map((name) => document.querySelector(name));
    if (!chat || !composer) return;
    new ResizeObserver(() => keepClearOf(composer)).observe(composer);
    new MutationObserver(() => {
      if (pinned && document.querySelector("#history :is(.exchange, .notice)")) requestAnimationFrame(toEnd);
    }).observe(chat, { childList: true, subtree: true, characterData: true });
  }

  // The box grows with what is written in it; the last line of the chat stays above it.
  function keepClearOf(composer) {
    document.documentElement.style.setProperty("--composer", `${composer.offsetHeight}px`);
    if (pinned && document.querySelector("#history .exchange")) toEnd();
  }

  return { start, setLook, download };
})();
