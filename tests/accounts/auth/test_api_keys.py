import string

import pytest

from app.accounts.auth import api_keys as keys


def test_key_is_its_prefix_and_256_random_bits_in_base_62() -> None:
    values = {keys.generate_token("phx_") for _ in range(200)}

    assert len(values) == 200
    assert all(value.startswith("phx_") and 30 < len(value) <= 47 for value in values)
    assert set("".join(value[4:] for value in values)) == set(string.ascii_letters + string.digits)


def test_new_key_has_a_digest_and_a_mask() -> None:
    key = keys.generate_personal_key()

    assert key.digest == keys.digest(key.value)
    assert key.mask == f"phx_...{key.value[-4:]}"


def test_digest_of_a_key_is_its_sha256() -> None:
    assert keys.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        ("Bearer phx_key", "phx_key"),
        ("Bearer   phx_key  ", "phx_key"),
        ("Bearer two words", "two words"),
        ("Bearer \xff\xfe", "\xff\xfe"),
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer x", None),
        ("Bearerphx_key", None),
        ("bearer phx_key", None),
        ("Token phx_key", None),
        ("Basic YTpi", None),
        ("phx_key", None),
        (" Bearer phx_key", None),
    ],
)
def test_keys_are_read_only_from_bearer_headers(authorization: str | None, key: str | None) -> None:
    assert keys.read_bearer(authorization) == key
