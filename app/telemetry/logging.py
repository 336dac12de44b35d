"""Log lines: JSON for collectors, short text for a terminal. Neither holds a secret, whoever wrote the line."""

import datetime as dt
import json
import logging
import re
import sys
from contextvars import ContextVar
from typing import Any, Final

# The request on whose behalf a line is written; empty outside of requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")

# Keys and tokens by their prefix, and the user and password of a URL.
_SECRET: Final = re.compile(r"\b(ph[a-z]_)[\w-]{4,}|(://)[^\s/@:\"]*:[^\s/\"]*@")


def redact(text: str) -> str:
    """Return the text with what may be a secret cut out."""
    return _SECRET.sub(lambda match: f"{match[1] or match[2]}***{'@' if match[2] else ''}", text)


class JsonFormatter(logging.Formatter):
    """One object on one line: time, level, logger, message, request_id, the line's own ``fields``, exception."""

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
        return redact(json.dumps(line))  # plain ASCII, so that no letter and no control character can break a line


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configuration(level: str) -> dict[str, Any]:
    """Return what ``logging.config.dictConfig`` takes. All lines go to the standard error output."""
    formatter = TextFormatter if sys.stderr.isatty() else JsonFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"abacus": {"level": level.upper()}, "uvicorn": {"level": level.upper()}},
    }
