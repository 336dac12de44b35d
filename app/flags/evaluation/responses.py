"""The responses to SDKs of all versions, made from evaluated flags."""

from typing import Final

import msgspec

from app.flags.evaluation.rules import Evaluation, FlagResult, PreparedFlag, enabled_values

JsonDict = dict[str, object]  # JSON, parts of which may be encoded already

_DESCRIPTIONS: Final = {
    "no_condition_match": "No matching condition set",
    "out_of_rollout_bound": "Out of rollout bound",
    "no_group_type": "No group type",
    "flag_disabled": "Feature flag is disabled",
    "super_condition_value": "Super condition value",
    "holdout_condition_value": "Holdout condition value",
}
# Flags have no stored version; clients expect a number.
_FLAG_VERSION: Final = 1


class ResponseMetadata(msgspec.Struct, frozen=True):
    """The time and the request of a response."""

    request_id: str
    milliseconds: int  # since 1970 UTC


def decide_body(
    version: int, evaluation: Evaluation, metadata: ResponseMetadata, *, has_flags: bool, token_is_known: bool = True
) -> JsonDict:
    """Return the response of ``/decide`` in a version."""
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
    enabled = enabled_values(evaluation.results)
    return {**body, "featureFlags": dict(enabled) if version == 2 else list(enabled)}


def flags_body(
    version: int, evaluation: Evaluation, metadata: ResponseMetadata, *, has_flags: bool, with_config: bool
) -> JsonDict:
    """Return the response of ``/flags`` in a version."""
    body = _flags(evaluation, metadata)
    if version < 2:
        body = {**_values(evaluation), **_response_metadata(metadata)}
    return {**body, **client_config(has_flags=has_flags)} if with_config else body


def client_config(*, has_flags: bool) -> JsonDict:
    """Return the configuration of the browser SDK: compressed events, and no features beyond events and flags."""
    return {
        "config": {"enable_collect_everything": True},
        "toolbarParams": {},
        "isAuthenticated": False,
        "flagsPersistenceDefault": False,
        **remote_config(has_flags=has_flags),
    }


def remote_config(*, has_flags: bool) -> JsonDict:
    """Return the part of the configuration that is the same for all clients of a project."""
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
    """Return the values of all flags and the payloads of enabled flags, by key."""
    return {
        "featureFlags": {result.flag.key: result.value for result in evaluation.results},
        "featureFlagPayloads": {
            result.flag.key: payload for result in evaluation.results if (payload := result.payload) is not None
        },
        "errorsWhileComputingFlags": bool(evaluation.failed),
    }


def _flags(evaluation: Evaluation, metadata: ResponseMetadata) -> JsonDict:
    """Return the flags as records by key."""
    return {
        "flags": {
            **{result.flag.key: _record(result) for result in evaluation.results},
            **{flag.key: _failed_record(flag) for flag in evaluation.failed},
        },
        "errorsWhileComputingFlags": bool(evaluation.failed),
        **_response_metadata(metadata),
    }


def _response_metadata(metadata: ResponseMetadata) -> JsonDict:
    return {"requestId": metadata.request_id, "evaluatedAt": metadata.milliseconds}


def _record(result: FlagResult) -> msgspec.Raw:
    """Return the JSON of a result, encoded once for each kind of result."""
    kind = (result.reason, result.enabled, result.variant, result.condition_index)
    encoded = result.flag.encoded_results.get(kind)
    if encoded is None:
        encoded = result.flag.encoded_results[kind] = msgspec.Raw(msgspec.json.encode(_document(result)))
    return encoded


def _document(result: FlagResult) -> JsonDict:
    return {
        "key": result.flag.key,
        "enabled": result.enabled,
        "variant": result.variant,
        "reason": {
            "code": result.reason,
            "condition_index": result.condition_index,
            "description": _describe(result),
        },
        "metadata": _flag_metadata(result.flag, result.payload),
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


def _describe(result: FlagResult) -> str:
    if result.reason == "condition_match" and result.condition_index is not None:
        return f"Matched condition set {result.condition_index + 1}"
    return _DESCRIPTIONS[result.reason]
