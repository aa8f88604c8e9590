"""Keys from settings, variables and files: found anew when they change, not repeated in errors."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from spendgate.adapters.credentials import FILE_SECONDS, FixedKey, ReferencedKey
from spendgate.errors import CredentialsError


class SettableClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_fixed_key_is_a_bearer_and_none_is_no_header() -> None:
    assert FixedKey(SecretStr("k-1"))() == FixedKey(SecretStr("k-1")).ready() == bearer("k-1")
    assert FixedKey()() == {}
    assert not FixedKey(SecretStr("k-1")).renew(bearer("k-1"))


def test_a_key_is_read_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_KEY", " k-2\n")

    assert ReferencedKey("env:VLLM_KEY", "u")() == bearer("k-2")


def test_a_rotated_key_file_is_read_again(tmp_path: Path) -> None:
    file, clock = tmp_path / "key", SettableClock()
    file.write_text("old\n")
    key = ReferencedKey(f"file:{file}", "u", clock=clock)
    assert key() == bearer("old")

    file.write_text("new\n")

    assert key() == bearer("old")
    clock.now += FILE_SECONDS
    assert key() == key.ready() == bearer("new")


def test_a_refused_key_is_worth_a_try_only_if_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    key = ReferencedKey(f"file:{file}", "u")
    refused = key()

    assert not key.renew(refused)
    file.write_text("new")
    assert key.renew(refused)
    assert key() == bearer("new")


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two words", b"two\nlines", b"\xff", "ü".encode()]
)
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)

    with pytest.raises(CredentialsError, match="the key of upstream 'u'") as caught:
        ReferencedKey(f"file:{file}", "u")()

    assert "two" not in str(caught.value)


def test_a_key_that_is_not_there_is_told_without_its_place(tmp_path: Path) -> None:
    # Who writes the key itself where its place should stand must not find it in a log.
    with pytest.raises(CredentialsError, match="its environment variable isn't set") as variable:
        ReferencedKey("env:SK_REALLY_A_KEY", "u")()
    with pytest.raises(CredentialsError, match="its file can't be read: No such file") as file:
        ReferencedKey(f"file:{tmp_path}/sk-really-a-key", "u")()

    assert "really" not in f"{variable.value}{file.value}".lower()
