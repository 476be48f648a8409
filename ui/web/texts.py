"""Every word of the interface, in Chinese and English."""

from dataclasses import dataclass

from elysia_chat.chains.language import Language


@dataclass(frozen=True)
class Texts:
    """The interface in one language; braces are places for `str.format`."""

    language: Language
    # Frame
    chat: str
    lore: str
    new_chat: str
    settings: str
    close: str
    preparing_lore: str
    waking: str
    ready: str
    ready_more: str
    no_lore: str
    # Settings
    persona: str
    interface_language: str
    appearance: str
    appearance_choices: tuple[str, str, str]
    lore_mode: str
    lore_choices: tuple[str, str, str]
    lore_info: str
    generation: str
    temperature: str
    temperature_info: str
    top_p: str
    top_k: str
    repetition_penalty: str
    max_new_tokens: str
    seed: str
    seed_info: str
    retrieval: str
    passages: str
    search_mode: str
    search_choices: tuple[str, str, str]
    dense_weight: str
    voice: str
    voice_zh: str
    voice_en: str
    voice_of_persona: str
    voice_speed: str
    voice_volume: str
    reset: str
    export: str
    # Chat
    placeholder: str
    send: str
    stop: str
    hint: str
    speak: str
    mute: str
    copy: str
    retry: str
    undo: str
    edit: str
    editing: str
    cancel_edit: str
    waiting: str
    searching: str
    searching_for: str
    reading: str
    thinking: str
    stopped: str
    truncated: str
    with_lore: str
    without_lore: str
    timings: str
    also_read: str
    also_read_only: str
    score: str
    empty_message: str
    long_message: str
    queue_full: str
    interrupted: str
    # Knowledge
    documents: str
    documents_info: str
    filter: str
    upload: str
    ingest: str
    columns: tuple[str, str, str, str, str]
    states: dict[str, str]
    own: str
    delete: str
    delete_own: str
    restore: str
    preview: str
    no_documents: str
    stages: dict[str, str]
    starting: str
    report: str
    report_parts: dict[str, str]
    failed_because: str
    refused: str
    search: str
    search_placeholder: str
    search_run: str
    nothing_found: str
    ranks: str
    not_ranked: str
    passages_of: str
    position: str
    no_passages: str


ZH = Texts(
    language="zh",
    chat="聊天",
    lore="资料",
    new_chat="新的对话",
    settings="设置",
    close="关闭",
    preparing_lore="正在整理资料 {done} / {total}",
    waking="正在醒来…",
    ready="{documents} 篇资料",
    ready_more=" · 随时可以聊",
    no_lore="还没有资料",
    persona="角色",
    interface_language="界面语言",
    appearance="外观",
    appearance_choices=("跟随系统", "浅色", "深色"),
    lore_mode="回答方式",
    lore_choices=("依据资料", "不查资料", "两者对比"),
    lore_info="对比会把同一个问题回答两遍，左右并排。",
    generation="生成",
    temperature="温度",
    temperature_info="0 最稳定，越大越随性",
    top_p="Top-p",
    top_k="Top-k（0 为不限）",
    repetition_penalty="重复惩罚",
    max_new_tokens="回答最长（词元）",
    seed="随机种子",
    seed_info="留空则每次不同",
    retrieval="检索",
    passages="放进提示的段落数",
    search_mode="检索方式",
    search_choices=("混合", "语义", "词语"),
    dense_weight="混合中语义的比重",
    voice="声音",
    voice_zh="中文音色",
    voice_en="英文音色",
    voice_of_persona="角色的音色",
    voice_speed="语速",
    voice_volume="音量",
    reset="恢复默认",
    export="导出对话",
    placeholder="和{name}说点什么…",
    send="发送",
    stop="停下",
    hint="回答出自资料，模型仍可能出错；点开来源可以核对。",
    speak="朗读",
    mute="声音开关",
    copy="复制",
    retry="重答",
    undo="撤回",
    edit="修改",
    editing="正在修改一条消息；发送后，它之后的对话会重新开始。",
    cancel_edit="不改了",
    waiting="前面还有 {count} 位在聊，马上就到你",
    searching="正在翻找资料",
    searching_for="正在找：{question}",
    reading="读到 {count} 段资料，正在想怎么说",
    thinking="正在想",
    stopped="已停下",
    truncated="到了长度上限",
    with_lore="依据资料",
    without_lore="不查资料",
    timings="{first:.1f} 秒开口 · 共 {total:.1f} 秒",
    also_read="另外还读了 {count} 段",
    also_read_only="回答前读过 {count} 段资料",
    score="相关度",
    empty_message="先写点什么再发送吧。",
    long_message="这条消息有 {length:,} 个字，最多 {limit:,} 个，请缩短一些。",
    queue_full="等待的人太多了，请稍后再试。",
    interrupted="回答中断了，消息还在输入框里，请再试一次。",
    documents="资料",
    documents_info="回答只依据这里的文档。可以上传自己的，也可以移除；随角色附带的随时能恢复。",
    filter="按标题或文件名筛选",
    upload="上传文档",
    ingest="重新整理",
    columns=("文档", "状态", "段落", "大小", "更新"),
    states={
        "indexed": "已收录",
        "failed": "未能读取",
        "new": "等待整理",
        "gone": "等待清除",
        "removed": "已移除",
    },
    own="自己的",
    delete="移除",
    delete_own="这是你自己的文档，移除后无法恢复。确定吗？",
    restore="恢复",
    preview="查看段落",
    no_documents="还没有文档，上传一篇吧。",
    stages={"read": "读取文档", "write": "写入索引", "delete": "清理旧段落"},
    starting="准备中",
    report="整理完毕：{parts}（{chunks} 段，{seconds:.1f} 秒）",
    report_parts={
        "added": "新增 {count}",
        "updated": "更新 {count}",
        "deleted": "删除 {count}",
        "unchanged": "未变 {count}",
        "repaired": "修复 {count}",
        "failed": "失败 {count}",
    },
    failed_because="这些文档没能读取：",
    refused="{name}：{reason}",
    search="试试检索",
    search_placeholder="输入一个问题，看看会找到哪些段落",
    search_run="检索",
    nothing_found="什么也没有找到。",
    ranks="语义第 {dense} · 词语第 {lexical}",
    not_ranked="–",
    passages_of="{title} 的段落",
    position="第 {number} 段",
    no_passages="这篇文档还没有收录的段落。",
)

EN = Texts(
    language="en",
    chat="Chat",
    lore="Lore",
    new_chat="New chat",
    settings="Settings",
    close="Close",
    preparing_lore="Preparing the lore {done} / {total}",
    waking="Waking up…",
    ready="{documents} documents",
    ready_more=" · ready to talk",
    no_lore="No lore yet",
    persona="Persona",
    interface_language="Interface language",
    appearance="Appearance",
    appearance_choices=("System", "Light", "Dark"),
    lore_mode="Answers",
    lore_choices=("From lore", "No lore", "Compare"),
    lore_info="Compare answers the same question twice, side by side.",
    generation="Generation",
    temperature="Temperature",
    temperature_info="0 is steady, higher is freer",
    top_p="Top-p",
    top_k="Top-k (0 is off)",
    repetition_penalty="Repetition penalty",
    max_new_tokens="Longest answer (tokens)",
    seed="Seed",
    seed_info="Empty: different each time",
    retrieval="Retrieval",
    passages="Passages in the prompt",
    search_mode="Search by",
    search_choices=("Both", "Meaning", "Words"),
    dense_weight="Weight of meaning",
    voice="Voice",
    voice_zh="Chinese voice",
    voice_en="English voice",
    voice_of_persona="the character's",
    voice_speed="Speed",
    voice_volume="Volume",
    reset="Back to defaults",
    export="Export this chat",
    placeholder="Say something to {name}…",
    send="Send",
    stop="Stop",
    hint="Answers come from the lore, and the model can still be wrong. Open a source to check.",
    speak="Read aloud",
    mute="Sound on or off",
    copy="Copy",
    retry="Try again",
    undo="Take back",
    edit="Edit",
    editing="You are editing a message. When you send it, the chat goes on from there.",
    cancel_edit="Cancel",
    waiting="{count} before you, your turn is coming",
    searching="Looking through the lore",
    searching_for="Looking for: {question}",
    reading="{count} passages read, finding the words",
    thinking="Thinking",
    stopped="stopped",
    truncated="reached the length limit",
    with_lore="From lore",
    without_lore="No lore",
    timings="{first:.1f} s to first word · {total:.1f} s",
    also_read="Also read {count} more",
    also_read_only="Read {count} passages before answering",
    score="Relevance",
    empty_message="Write something first.",
    long_message="This message has {length:,} characters; the limit is {limit:,}. Please shorten it.",
    queue_full="Too many people are waiting. Please try again in a moment.",
    interrupted="The answer was interrupted. Your message is still in the box; please send it again.",
    documents="Lore",
    documents_info="Answers rest on these documents alone. Add your own or remove some; those that came with the "
    "persona can be restored at any time.",
    filter="Filter by title or file name",
    upload="Upload",
    ingest="Re-ingest",
    columns=("Document", "State", "Chunks", "Size", "Changed"),
    states={
        "indexed": "Indexed",
        "failed": "Unreadable",
        "new": "Waiting",
        "gone": "To be cleared",
        "removed": "Removed",
    },
    own="yours",
    delete="Remove",
    delete_own="This is a document of your own and cannot be restored. Remove it?",
    restore="Restore",
    preview="Show its chunks",
    no_documents="There are no documents yet. Upload one.",
    stages={"read": "Reading documents", "write": "Writing the index", "delete": "Clearing old chunks"},
    starting="Getting ready",
    report="Done: {parts} ({chunks} chunks, {seconds:.1f} s)",
    report_parts={
        "added": "{count} added",
        "updated": "{count} updated",
        "deleted": "{count} deleted",
        "unchanged": "{count} unchanged",
        "repaired": "{count} repaired",
        "failed": "{count} failed",
    },
    failed_because="These documents could not be read:",
    refused="{name}: {reason}",
    search="Try the search",
    search_placeholder="Ask something and see which passages are found",
    search_run="Search",
    nothing_found="Nothing was found.",
    ranks="meaning #{dense} · words #{lexical}",
    not_ranked="–",
    passages_of="Chunks of {title}",
    position="Chunk {number}",
    no_passages="No chunk of this document is indexed yet.",
)

TEXTS: dict[Language, Texts] = {"zh": ZH, "en": EN}


def preferred_language(accept_language: str, default: Language = "en") -> Language:
    """Return the interface language that a browser's Accept-Language header asks for first.

    Args:
        accept_language: such as "zh-CN,zh;q=0.9,en;q=0.8".
        default: where neither language is named.
    """
    ranked: list[tuple[float, int, Language]] = []
    for place, part in enumerate(accept_language.split(",")[:20]):
        tag, _, weight = part.strip().partition(";")
        primary = tag.strip().lower().split("-")[0]
        if primary in ("zh", "en"):
            ranked.append((-_quality(weight), place, "zh" if primary == "zh" else "en"))
    return min(ranked)[2] if ranked else default


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
