"""The answers that SDKs of all ages understand. Pure: from evaluated flags to JSON."""

from typing import Final

import msgspec

from app.flags.evaluation.rules import Evaluation, FlagResult, PreparedFlag, enabled_values

JsonDict = dict[str, object]  # JSON, parts of it written already

_DESCRIPTIONS: Final = {
    "no_condition_match": "No matching condition set",
    "out_of_rollout_bound": "Out of rollout bound",
    "no_group_type": "No group type",
    "flag_disabled": "Feature flag is disabled",
}
# What there is no field for in the tables; clients expect a number.
_FLAG_VERSION: Final = 1


class ResponseMetadata(msgspec.Struct, frozen=True):
    """When an answer is given, and to which request."""

    request_id: str
    milliseconds: int  # since 1970 UTC


def decide_body(
    version: int, evaluation: Evaluation, metadata: ResponseMetadata, *, has_flags: bool, token_is_known: bool = True
) -> JsonDict:
    """Return what ``/decide`` answers to a client of this version."""
    if version >= 4:
        return {**_flags(evaluation, metadata), **client_config(has_flags=has_flags)}
    body: JsonDict = {
        "config": {"enable_collect_everything": True},
        "toolbarParams": {},
        "isAuthenticated": False,
        "supportedCompression": ["gzip", "gzip-js", "lz64"],
        "sessionRecording": False,
    }
    if token_is_known:
        body["siteApps"] = []
    if version >= 3:
        return {**body, **_values(evaluation)}
    enabled = enabled_values(evaluation.answers)
    return {**body, "featureFlags": dict(enabled) if version == 2 else list(enabled)}


def flags_body(
    version: int, evaluation: Evaluation, metadata: ResponseMetadata, *, has_flags: bool, with_config: bool
) -> JsonDict:
    """Return what ``/flags`` answers to a client of this version."""
    body = _flags(evaluation, metadata)
    if version < 2:
        body = {**_values(evaluation), **_response_metadata(metadata)}
    return {**body, **client_config(has_flags=has_flags)} if with_config else body


def client_config(*, has_flags: bool) -> JsonDict:
    """Return how a browser's SDK should behave: send compressed events, and nothing that is not asked for."""
    return {
        "config": {"enable_collect_everything": True},
        "toolbarParams": {},
        "isAuthenticated": False,
        "flagsPersistenceDefault": False,
        **remote_config(has_flags=has_flags),
    }


def remote_config(*, has_flags: bool) -> JsonDict:
    """Return the part of the configuration that does not depend on who asks."""
    return {
        "supportedCompression": ["gzip", "gzip-js"],
        "hasFeatureFlags": has_flags,
        "captureDeadClicks": False,
        "capturePerformance": False,
        "autocapture_opt_out": False,
        "autocaptureExceptions": False,
        "analytics": {"endpoint": "/i/v0/e/"},
        "elementsChainAsString": True,
        "sessionRecording": False,
        "surveys": False,
        "heatmaps": False,
        "defaultIdentifiedOnly": True,
        "siteApps": [],
    }


def _values(evaluation: Evaluation) -> JsonDict:
    """Return the flags as values by key: of those that are off too, and payloads of those that are on."""
    return {
        "featureFlags": {answer.flag.key: answer.value for answer in evaluation.answers},
        "featureFlagPayloads": {
            answer.flag.key: payload for answer in evaluation.answers if (payload := answer.payload) is not None
        },
        "errorsWhileComputingFlags": bool(evaluation.failed),
    }


def _flags(evaluation: Evaluation, metadata: ResponseMetadata) -> JsonDict:
    """Return the flags as records by key."""
    return {
        "flags": {
            **{answer.flag.key: _record(answer) for answer in evaluation.answers},
            **{flag.key: _failed_record(flag) for flag in evaluation.failed},
        },
        "errorsWhileComputingFlags": bool(evaluation.failed),
        **_response_metadata(metadata),
    }


def _response_metadata(metadata: ResponseMetadata) -> JsonDict:
    return {"requestId": metadata.request_id, "evaluatedAt": metadata.milliseconds}


def _record(answer: FlagResult) -> msgspec.Raw:
    """Return the JSON of an answer."""
    kind = (answer.reason, answer.variant, answer.condition_index)
    written = answer.flag.written.get(kind)
    if written is None:
        written = answer.flag.written[kind] = msgspec.Raw(msgspec.json.encode(_document(answer)))
    return written


def _document(answer: FlagResult) -> JsonDict:
    return {
        "key": answer.flag.key,
        "enabled": answer.enabled,
        "variant": answer.variant,
        "reason": {
            "code": answer.reason,
            "condition_index": answer.condition_index,
            "description": _describe(answer),
        },
        "metadata": _flag_metadata(answer.flag, answer.payload),
    }


def _failed_record(flag: PreparedFlag) -> JsonDict:
    return {
        "key": flag.key,
        "enabled": False,
        "variant": None,
        "reason": {"code": "internal_error", "condition_index": None, "description": "Flag evaluation failed"},
        "metadata": _flag_metadata(flag, None),
        "failed": True,
    }


def _flag_metadata(flag: PreparedFlag, payload: str | None) -> JsonDict:
    return {
        "id": flag.id,
        "version": _FLAG_VERSION,
        "description": None,
        "payload": payload,
        "has_experiment": flag.has_experiment,
    }


def _describe(answer: FlagResult) -> str:
    if answer.reason == "condition_match" and answer.condition_index is not None:
        return f"Matched condition set {answer.condition_index + 1}"
    return _DESCRIPTIONS[answer.reason]
