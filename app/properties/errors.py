"""The refusal of a filter."""


class InvalidFilter(ValueError):
    """An invalid filter; ``detail`` and ``code`` explain it to the client."""

    def __init__(self, detail: str, code: str = "invalid_input") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
