"""Log formats: JSON for collectors, short text for a terminal. Secrets are redacted in both."""

import datetime as dt
import json
import logging
import re
import sys
from contextvars import ContextVar
from typing import Any, Final

# The id of the current request; empty outside requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")

# Keys and tokens, which have a known prefix, and user and password in a URL.
_SECRET: Final = re.compile(r"\b(ph[a-z]_)[\w-]{4,}|(://)[^\s/@:\"]*:[^\s/\"]*@")


def redact(text: str) -> str:
    """Replace everything in a text that may be a secret."""
    return _SECRET.sub(lambda match: f"{match[1] or match[2]}***{'@' if match[2] else ''}", text)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, request_id, ``fields`` of the record, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get():
            line["request_id"] = request
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line))  # ASCII, so that no character can break a line


class TextFormatter(logging.Formatter):
    """One short line of text: time, level, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configuration(level: str) -> dict[str, Any]:
    """Return the argument of ``logging.config.dictConfig``. All lines are written to standard error."""
    formatter = TextFormatter if sys.stderr.isatty() else JsonFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"abacus": {"level": level.upper()}, "uvicorn": {"level": level.upper()}},
    }
