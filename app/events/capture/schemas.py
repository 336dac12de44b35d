"""The OpenAPI of the capture endpoints, whose requests are decoded from bytes."""

from typing import Any, Literal

from pydantic import Field

from app.http.schemas import ResponseBody


class CaptureRead(ResponseBody):
    status: Literal[1] = Field(description="1: committed.")


_EVENT: dict[str, Any] = {  # a piece of OpenAPI
    "type": "object",
    "required": ["event", "distinct_id"],
    "properties": {
        "event": {"type": "string", "description": "The event's name. One with an empty name, or null, is dropped."},
        "distinct_id": {"type": "string", "description": "The identifier of the person, as the client knows them."},
        "properties": {
            "type": "object",
            "description": "Times in here are not read: `timestamp` says when the event happened.",
        },
        "timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "When it happened; the time of arrival if unset, or if it cannot be read: then the event "
            "keeps the text as its property `$unread_timestamp`. Other forms are read as JavaScript reads them.",
        },
        "uuid": {
            "type": "string",
            "format": "uuid",
            "description": "An event with a known uuid, name and distinct id is not stored twice.",
        },
    },
}

capture_body: dict[str, Any] = {  # a piece of OpenAPI
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["api_key", "batch"],
                    "properties": {
                        "api_key": {"type": "string", "description": "The project's public token, `phc_…`."},
                        "sent_at": {
                            "type": "string",
                            "format": "date-time",
                            "description": "When the client sent it, by its own clock, which corrects event times.",
                        },
                        "batch": {"type": "array", "minItems": 1, "items": _EVENT},
                    },
                },
                "example": {
                    "api_key": "phc_3xAmPl3",
                    "batch": [
                        {
                            "event": "purchase",
                            "distinct_id": "ann",
                            "properties": {"$feature/checkout": "test", "amount": 12.5},
                            "timestamp": "2022-11-02T10:00:00Z",
                        }
                    ],
                },
            }
        },
    }
}
