"""The settings of everything, as one strict schema.

Components never see these classes: a `build_…` function in each folder turns them into plain arguments. Unknown keys
are refused with the known names. `loader.py` reads them from presets, files, the environment and the command line.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# What RFC 6750 lets a bearer token be.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class EmbeddingSettings(_Strict):
    """Which model turns text into vectors."""

    name: str = Field("embedded", description="'embedded' (multilingual-e5-small, trained further), 'hash' "
                      "(a fake), or a sentence-transformers name or folder")  # fmt: skip
    device: str = Field("auto", description="'auto', 'cpu', 'cuda', 'cuda:1', 'mps'")
    batch_size: int = Field(32, ge=1, le=1024)
    threads: int | None = Field(None, ge=1, description="torch threads; unset leaves torch's own choice")


class StoreSettings(_Strict):
    """Where the vectors live."""

    kind: Literal["chroma", "chroma-server", "memory"] = "chroma"
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    ssl: bool = False


class IngestSettings(_Strict):
    """How documents are read and cut. Sizes are characters; the defaults are those that measured best."""

    chunk_size: int = Field(500, ge=50, le=8000)
    chunk_overlap: int = Field(0, ge=0)
    max_file_mb: float = Field(50.0, gt=0)
    max_unpacked_mb: float = Field(300.0, gt=0)

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> "IngestSettings":
        if self.chunk_overlap >= self.chunk_size:
            msg = f"ingest.chunk_overlap ({self.chunk_overlap}) must be smaller than ingest.chunk_size"
            raise ValueError(msg)
        return self


class RetrievalSettings(_Strict):
    """How passages are found."""

    k: int = Field(4, ge=1, le=20, description="passages that reach the prompt")
    candidates: int = Field(20, ge=1, le=200, description="passages that each ranking offers to the fusion")
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    fusion: Literal["convex", "rrf"] = Field("convex", description="of scores ('convex') or of ranks ('rrf')")
    dense_weight: float = Field(0.7, ge=0.0, le=1.0, description="share of the dense ranking in the fusion")
    mmr: float | None = Field(None, ge=0.0, le=1.0, description="lambda of maximal marginal relevance; unset: off")
    neighbours: bool = Field(False, description="join each passage with the ones before and after it")
    reranker: str | None = Field("embedded", description="cross-encoder that reads the candidates: 'embedded', a name "
                                 "or a folder; 'none' or null: none")  # fmt: skip
    rerank: int = Field(8, ge=1, le=200, description="of the candidates, how many the reranker reads")
    sentences: int | None = Field(4, ge=1, le=50, description="how many sentences of these passages reach the prompt: "
                                  "those that the reranker prefers; null: whole passages")  # fmt: skip
    min_score: float | None = Field(0.05, ge=0.0, le=1.0, description="passages that the reranker scores lower, and "
                                    "sentences that are worth less, do not reach it; null: all may")  # fmt: skip

    @field_validator("reranker")
    @classmethod
    def _none_is_no_name(cls, value: str | None) -> str | None:
        return None if value == "none" else value

    @model_validator(mode="after")
    def _enough_candidates(self) -> "RetrievalSettings":
        if self.candidates < self.k:
            msg = f"retrieval.candidates ({self.candidates}) must be at least retrieval.k ({self.k})"
            raise ValueError(msg)
        return self


class ModelSettings(_Strict):
    """Which language model answers."""

    kind: Literal["embedded", "transformers", "gguf", "openai", "scripted"] = "embedded"
    name: str | None = Field(
        None, description="folder or hub name ('transformers'), file ('gguf'), model name ('openai')"
    )
    engine: Literal["auto", "transformers", "llama.cpp"] = Field(
        "auto", description="what computes a model in this process; 'auto': llama.cpp for files, and without a "
        "GPU or AMX for the embedded model; else transformers"
    )  # fmt: skip
    parallel: int | None = Field(None, ge=1, le=256, description="answers written at once, by llama.cpp or on a GPU; "
                                 "unset: 2 by llama.cpp, 1 on a GPU, where it is then quickest")  # fmt: skip
    queue: int = Field(256, ge=0, description="requests that may wait for a model in this process; more are refused")
    adapter: str | None = Field(
        None, description="PEFT adapter folder, or the name of one that was added; the embedded model brings its own"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; 'auto' is what the processor is quick with, and on a CPU gives the "
        "embedded model 8-bit copies for single tokens"
    )  # fmt: skip
    quantization: Literal["none", "8bit", "4bit"] = Field(
        "none", description="makes the weights smaller while they are loaded (bitsandbytes; needs an NVIDIA GPU)"
    )
    device: str = Field("auto", description="'auto', 'cpu', 'cuda', 'cuda:1', 'mps'; 'auto' takes several GPUs where "
                        "one is too small")  # fmt: skip
    threads: int | None = Field(None, ge=1)
    context_tokens: int | None = Field(None, ge=256, description="longest prompt plus answer; unset: the model's")
    base_url: str | None = Field(
        None, description="of an OpenAI-compatible server, for example http://127.0.0.1:8000/v1"
    )
    api_key: SecretStr | None = None
    timeout_s: float = Field(60.0, gt=0)
    replies: tuple[str, ...] = Field((), description="what the scripted model says, in turn")
    delay_s: float = Field(0.0, ge=0, description="pause of the scripted model before each token")

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> "ModelSettings":
        if self.kind == "transformers" and not self.name:
            msg = "model.kind=transformers needs model.name: a model folder or a hub name"
            raise ValueError(msg)
        if self.kind == "gguf" and not self.name:
            msg = "model.kind=gguf needs model.name: a GGUF file"
            raise ValueError(msg)
        if self.kind == "gguf" and self.engine == "transformers":
            msg = "model.kind=gguf is computed by llama.cpp: leave model.engine unset"
            raise ValueError(msg)
        if self.quantization != "none" and (
            self.kind not in ("embedded", "transformers") or self.engine == "llama.cpp"
        ):
            msg = f"model.quantization={self.quantization} is for models that transformers computes: set it to none"
            raise ValueError(msg)
        if self.kind == "openai" and not (self.base_url and self.name):
            msg = "model.kind=openai needs model.base_url and model.name"
            raise ValueError(msg)
        return self


class GenerationSettings(_Strict):
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int = Field(256, ge=1, le=8192)
    temperature: float = Field(0.0, ge=0.0, le=5.0, description="0 is greedy")
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    top_k: int = Field(50, ge=0, description="0 is off")
    repetition_penalty: float = Field(1.05, ge=0.5, le=3.0)
    seed: int | None = Field(None, ge=0)
    stop: tuple[str, ...] = ()


class ChatSettings(_Strict):
    """How a conversation is led."""

    rag: bool = Field(True, description="search the lore before answering")
    history_tokens: int = Field(768, ge=0, description="budget for earlier turns; the oldest go first")
    rewrite: Literal["rules", "model", "off"] = Field(
        "rules", description="how a follow-up becomes a question that can be searched"
    )
    max_message_chars: int = Field(4000, ge=1, le=100_000)


class VoiceSettings(_Strict):
    """How replies are spoken."""

    enabled: bool = Field(True, description="offer speech at all")
    name: str | None = Field(None, description="one voice for every language that it has; comes before the next three")
    zh: str | None = Field(None, description="voice for Chinese; unset: the persona's, else 'xiaoyi'")
    en: str | None = Field(None, description="voice for English; unset: the persona's, else 'joe'")
    ja: str | None = Field(None, description="voice for Japanese; unset: the persona's, else none")
    speaker: str | None = Field(None, description="of voices with several speakers, by name; unset: the voice's own")
    speed: float = Field(1.0, ge=0.5, le=2.0, description="2 is twice as fast")
    threads: int = Field(1, ge=1, le=64, description="for speech; the model keeps the others")
    cache_mb: float = Field(64.0, ge=0, le=4096, description="of spoken sentences kept in memory")


class ServerSettings(_Strict):
    """Where the page listens. Loopback unless a user and a password are set."""

    host: str = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535, description="0 takes a free one")
    user: str | None = None
    password: SecretStr | None = None
    sessions: int = Field(100, ge=1, description="sessions that may wait in the queue")
    open_browser: bool = False

    @model_validator(mode="after")
    def _wider_than_loopback_needs_a_password(self) -> "ServerSettings":
        if bool(self.user) != bool(self.password):
            msg = "server.user and server.password go together"
            raise ValueError(msg)
        if self.host not in LOOPBACK and not self.password:
            msg = f"server.host={self.host} is reachable by others: set server.user and server.password as well"
            raise ValueError(msg)
        return self


class ApiSettings(_Strict):
    """The HTTP API of `serve`. Loopback unless there are tokens."""

    host: str | None = Field(None, description="where `serve` listens; unset: server.host")
    port: int | None = Field(None, ge=0, le=65535, description="0 takes a free one; unset: server.port")
    tokens: tuple[SecretStr, ...] = Field((), description="a request to /v1 must bear one of them")
    tokens_file: str | None = Field(None, description="a file with further tokens, one a line")
    requests_per_minute: int = Field(600, ge=0, description="of one token or address; 0 is no limit")
    max_body_mb: float = Field(4.0, gt=0, le=1024)
    concurrency: int = Field(64, ge=1, le=1024, description="answers that are computed at the same time")
    queue: int = Field(256, ge=0, description="answers that may wait for their turn; more are refused")
    max_tokens: int = Field(1024, ge=1, le=8192, description="longest answer that a request may ask for")
    system_messages: Literal["append", "ignore", "refuse"] = Field(
        "append", description="what becomes of a client's system messages; the persona's own rules stay above them"
    )
    cors_origins: tuple[str, ...] = Field((), description="web pages of other origins that may call it, or '*'")

    @field_validator("tokens", mode="before")
    @classmethod
    def _tokens_are_texts(cls, value: object) -> object:
        tokens = (value,) if isinstance(value, str) else value
        if not isinstance(tokens, tuple | list) or not all(isinstance(token, str | SecretStr) for token in tokens):
            # The usual message would show the value, which is a secret.
            msg = "api.tokens must be a list of texts; quote those that are numbers"
            raise ValueError(msg)
        return tokens

    @field_validator("tokens")
    @classmethod
    def _tokens_can_be_sent(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(_TOKEN.fullmatch(token.get_secret_value()) for token in tokens):
            msg = "each of api.tokens must be of letters, digits and ._~+/=- alone"
            raise ValueError(msg)
        return tokens

    @model_validator(mode="after")
    def _wider_than_loopback_needs_tokens(self) -> "ApiSettings":
        if self.host not in (None, *LOOPBACK) and not (self.tokens or self.tokens_file):
            msg = f"api.host={self.host} is reachable by others: set api.tokens or api.tokens_file as well"
            raise ValueError(msg)
        return self


class Settings(_Strict):
    """Everything that can be set."""

    persona: str = "elysia"
    language: Literal["auto", "zh", "en"] = Field("auto", description="of the interface; 'auto' asks the browser")
    embeddings: EmbeddingSettings = EmbeddingSettings()
    store: StoreSettings = StoreSettings()
    ingest: IngestSettings = IngestSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    model: ModelSettings = ModelSettings()
    generation: GenerationSettings = GenerationSettings()
    chat: ChatSettings = ChatSettings()
    voice: VoiceSettings = VoiceSettings()
    server: ServerSettings = ServerSettings()
    api: ApiSettings = ApiSettings()
