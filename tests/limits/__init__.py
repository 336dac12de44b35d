import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{part}_cases" for part in ("capture", "document", "reading")))
