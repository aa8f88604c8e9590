"""Media cost their caps, each of them, and their bytes are not taken for text."""

import pytest

from spendgate.domain.bound import MediaCaps, UnboundedError, input_tokens_max

DATA = "AAAA" * 5_000
CAPS = MediaCaps(image_tokens=1_000, audio_tokens=30_000, file_tokens=500_000)


def chat(*parts: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def without(kind: str) -> MediaCaps:
    caps = {"image": 1_000, "audio": 30_000, "file": 500_000, kind: None}
    return MediaCaps(caps["image"], caps["audio"], caps["file"])


@pytest.mark.parametrize(
    ("kind", "part", "cap"),
    [
        ("audio", {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, 30_000),
        ("audio", {"type": "audio_url", "audio_url": {"url": f"data:audio/wav,{DATA}"}}, 30_000),
        ("audio", {"type": "audio_url", "audio_url": {"url": "https://example.com/a"}}, 30_000),
        ("file", {"type": "file", "file": {"file_id": "file-1"}}, 500_000),
        ("file", {"type": "file", "file": {"file_data": f"data:application/pdf,{DATA}"}}, 500_000),
        ("file", {"type": "input_file", "file_data": f"data:application/pdf,{DATA}"}, 500_000),
        (
            "file",
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": DATA},
            },
            500_000,
        ),
        ("image", {"type": "image_url", "image_url": {"url": f"data:image/png,{DATA}"}}, 1_000),
    ],
)
def test_a_capped_part_costs_its_cap_and_not_its_bytes(
    kind: str, part: dict[str, object], cap: int
) -> None:
    tokens = input_tokens_max(chat(part), caps=CAPS)

    assert cap < tokens < cap + 500
    with pytest.raises(UnboundedError, match=f"models.<model>.{kind}_tokens") as refusal:
        input_tokens_max(chat(part), caps=without(kind))
    assert refusal.value.field == "messages[0].content[0]"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_data": f"data:text/plain,{DATA}"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": DATA}},
    ],
)
def test_the_bytes_of_a_text_file_count_beside_its_cap(part: dict[str, object]) -> None:
    assert input_tokens_max(chat(part), caps=CAPS) > 500_000 + len(DATA)


def test_video_is_refused_whatever_the_caps() -> None:
    part = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}

    with pytest.raises(UnboundedError, match="leave it out"):
        input_tokens_max(chat(part), caps=CAPS)


def test_something_else_dressed_as_audio_is_refused() -> None:
    part = {"type": "audio_url", "audio_url": {"url": f"data:video/mp4,{DATA}"}}

    with pytest.raises(UnboundedError):
        input_tokens_max(chat(part), caps=CAPS)


def test_each_image_of_a_list_costs_its_cap() -> None:
    message = {"role": "user", "content": "hello", "images": ["AAAA"] * 100}

    assert input_tokens_max({"messages": [message]}, caps=CAPS) > 100 * 1_000


def test_media_inside_a_message_that_has_images_itself_are_found() -> None:
    video = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    message = {"role": "user", "content": [image, image], "images": ["AAAA"]}

    assert input_tokens_max({"messages": [message]}, caps=CAPS) > 3 * 1_000
    with pytest.raises(UnboundedError) as refusal:
        input_tokens_max({"messages": [{**message, "content": [video]}]}, caps=CAPS)
    assert refusal.value.field == "messages[0].content[0]"


def test_the_dearest_reading_of_a_part_without_a_type_counts() -> None:
    part = {"image_url": "https://example.com/a", "input_audio": {"data": DATA}}

    assert input_tokens_max(chat(part), caps=CAPS) > 30_000


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_an_empty_list_of_media_is_no_media(nothing: object) -> None:
    message = {"role": "assistant", "content": "hi", "audio": nothing, "images": nothing}

    assert input_tokens_max({"messages": [message]}) > 0
