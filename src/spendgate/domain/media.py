"""Images, audio and files inside messages: what each may cost, apart from the text around them.

Their bytes say nothing about their tokens, so each costs a cap that the operator gives per model;
without a cap it is refused. Video never has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

from spendgate.domain.json_tree import fields, items
from spendgate.domain.unbounded import UnboundedError

MediaKind = Literal["image", "audio", "file", "other"]

# Words in a part's type or key, so that variants such as `audio_url` are known as well.
_WORDS: Mapping[str, MediaKind] = {
    "audio": "audio",
    "document": "file",
    "file": "file",
    "image": "image",
    "images": "image",
    "media": "other",
    "reference": "other",
    "screenshot": "other",
    "upload": "other",
    "video": "other",
    "videos": "other",
}
_ORDER: tuple[MediaKind, ...] = ("other", "file", "audio", "image")
_CONTAINERS = ("messages", "input")
_NESTED = ("content", "output", "parts")
_HOLDERS = (dict, list)
_NO_KINDS: frozenset[MediaKind] = frozenset()
_NAME_MAX = 64


@dataclass(frozen=True, slots=True)
class MediaCaps:
    """The most tokens that one image, one audio part, one file of any size can cost.

    None refuses that kind.
    """

    image_tokens: int | None = None
    audio_tokens: int | None = None
    file_tokens: int | None = None

    def of(self, kind: MediaKind) -> int | None:
        """Return the cap of a kind; None where it is refused."""
        caps = {"image": self.image_tokens, "audio": self.audio_tokens, "file": self.file_tokens}
        return caps.get(kind)


@dataclass(frozen=True, slots=True)
class Media:
    """One part of a body that isn't text: where it is, what it is, and how many it holds."""

    path: str
    kind: MediaKind
    count: int = 1


def split_media(body: Mapping[str, object]) -> tuple[dict[str, object], list[Media]]:
    """Return the body without the bytes of inline media, and the media."""
    found: list[Media] = []
    rest = dict(body)
    for name in _CONTAINERS:
        # Most bodies hold none, and to look costs less than to copy by path.
        if _holds_media(body.get(name)):
            rest[name] = _without_bytes(name, body[name], found)
    return rest, found


def media_tokens_max(media: list[Media], caps: MediaCaps) -> int:
    """Sum the caps of media.

    Raises `UnboundedError` for the first one without a cap.
    """
    tokens = 0
    for one in media:
        cap = caps.of(one.kind)
        if cap is None:
            raise UnboundedError(one.path, _refusal(one.kind))
        tokens += cap * one.count
    return tokens


def _refusal(kind: MediaKind) -> str:
    if kind == "other":
        return "audio, files and video can't be counted; leave it out"
    if kind == "image":
        lead = "this model has no image cap"
    else:
        lead = f"audio, files and video can't be counted, and this model has no {kind} cap"
    return f"{lead}; set models.<model>.{kind}_tokens in the policy, or send text only"


def _holds_media(value: object) -> bool:
    if isinstance(value, dict):
        part = fields(cast(object, value))
        return _media_kind(part) is not None or any(
            _holds_media(part[key]) for key in _NESTED if key in part
        )
    return any(_holds_media(cast(object, one)) for one in items(value) if isinstance(one, _HOLDERS))


def _without_bytes(path: str, value: object, found: list[Media]) -> object:
    """Copy messages or parts without their inline media, and note the media found."""
    if isinstance(value, list):
        entries = cast(list[object], value)
        # A batch of token ids has no parts; looking at each by its path would cost milliseconds.
        if not any(isinstance(entry, dict | list) for entry in entries):
            return entries
        return [_without_bytes(f"{path}[{i}]", entry, found) for i, entry in enumerate(entries)]
    if not isinstance(value, dict):
        return value
    part = cast(dict[str, object], value)
    kind = _media_kind(part)
    if kind is not None:
        stripped = _STRIPPERS[kind](part) if kind in _STRIPPERS else None
        found.append(Media(path, "other" if stripped is None else kind, _count(part)))
        part = part if stripped is None else stripped
    nested = {
        key: _without_bytes(f"{path}.{key}", part[key], found) for key in _NESTED if key in part
    }
    return {**part, **nested}


def _media_kind(part: Mapping[str, object]) -> MediaKind | None:
    """Classify a part by its type, else by its keys: some servers read parts without a type."""
    kind = part.get("type")
    kinds = _kinds(kind) if isinstance(kind, str) else _NO_KINDS
    if not kinds:
        for key, value in part.items():
            named = _kinds(key)
            if named and value not in (None, [], ""):
                kinds |= named
    return next((one for one in _ORDER if one in kinds), None)


def _count(part: Mapping[str, object]) -> int:
    """Count the media that a part holds: Ollama's messages have a list of images."""
    return max(1, sum(len(items(value)) for name, value in part.items() if _kinds(name)))


def _kinds(name: str) -> frozenset[MediaKind]:
    """Return the kinds of media whose words are in a name."""
    # The client chose it, so that only a name of a usual length may be kept.
    return _known_kinds(name) if len(name) <= _NAME_MAX else _kinds_in(name)


def _kinds_in(name: str) -> frozenset[MediaKind]:
    return frozenset(_WORDS[word] for word in name.lower().split("_") if word in _WORDS)


_known_kinds = lru_cache(maxsize=1024)(_kinds_in)


def _without_image(part: dict[str, object]) -> dict[str, object] | None:
    """Take an inline image's bytes out of its part; None where the data is not an image.

    Only where servers look for image bytes: text hidden elsewhere in the part still counts.
    """
    if part.get("type") == "image":
        return _without_source(part)
    url = part.get("image_url")
    if isinstance(url, dict):
        url = fields(cast(object, url)).get("url")
    if not isinstance(url, str) or url[:5].lower() != "data:":
        return part
    # Gemini reads PDF, audio and video from a data URL of any type.
    return {**part, "image_url": ""} if url[:11].lower() == "data:image/" else None


def _without_audio(part: dict[str, object]) -> dict[str, object] | None:
    given = fields(part.get("input_audio"))
    if isinstance(given.get("data"), str):
        return {**part, "input_audio": {**given, "data": ""}}
    url = fields(part.get("audio_url")).get("url")
    if not isinstance(url, str) or url[:5].lower() != "data:":
        return part
    return {**part, "audio_url": ""} if url[:11].lower() == "data:audio/" else None


def _without_file(part: dict[str, object]) -> dict[str, object] | None:
    """Take a PDF's bytes out of its part; the bytes of other files bound their text and stay."""
    if _is_pdf(part.get("file_data")):
        return {**part, "file_data": ""}
    given = fields(part.get("file"))
    if _is_pdf(given.get("file_data")):
        return {**part, "file": {**given, "file_data": ""}}
    is_pdf = fields(part.get("source")).get("media_type") == "application/pdf"
    return _without_source(part) if is_pdf else part


def _without_source(part: dict[str, object]) -> dict[str, object]:
    source = fields(part.get("source"))
    is_inline = source.get("type") == "base64" and isinstance(source.get("data"), str)
    return {**part, "source": {**source, "data": ""}} if is_inline else part


def _is_pdf(data: object) -> bool:
    return isinstance(data, str) and data[:20].lower() == "data:application/pdf"


_STRIPPERS = {"image": _without_image, "audio": _without_audio, "file": _without_file}
