"""The answers of OFREP, made from evaluated flags."""

from typing import Final, Literal, TypeAlias

from app.events.ofrep.decoding import ErrorCode
from app.flags.evaluation.rules import Evaluation, FlagResult

JsonDict = dict[str, object]
FlagReason: TypeAlias = Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT"]

ON, OFF = "on", "off"
_FAILED: Final = "The flag could not be evaluated."


def success(result: FlagResult) -> JsonDict:
    """Return the answer of an evaluated flag.

    The value of a flag with variants is the variant's key; where the person gets none, there is no value, and the
    application uses its default. A payload is JSON text in ``metadata``, because that holds simple values only.
    """
    answer: JsonDict = {"key": result.flag.key, "reason": _reason(result), "variant": result.variant or OFF}
    metadata: JsonDict = {"flag_id": result.flag.id, "has_experiment": result.flag.has_experiment}
    if not result.flag.variants and result.variant is None:
        answer |= {"value": result.enabled, "variant": ON if result.enabled else OFF}
    elif result.variant is not None:
        answer["value"] = result.variant
    if result.payload is not None:
        metadata["payload"] = result.payload
    return {**answer, "metadata": metadata}


def disabled(key: str, flag_id: int) -> JsonDict:
    """Return the answer of a flag that is off: without a value, so that the application uses its default."""
    return {"key": key, "reason": "DISABLED", "variant": OFF, "metadata": {"flag_id": flag_id}}


def failure(code: ErrorCode, details: str, key: str | None = None) -> JsonDict:
    return {**({} if key is None else {"key": key}), "errorCode": code, "errorDetails": details}


def bulk(evaluation: Evaluation, inactive: list[tuple[int, str]]) -> JsonDict:
    """Return the answer of all flags of a project."""
    return {
        "flags": [
            *map(success, evaluation.results),
            *(failure("GENERAL", _FAILED, flag.key) for flag in evaluation.failed),
            *(disabled(key, flag_id) for flag_id, key in inactive),
        ]
    }


def single(evaluation: Evaluation) -> JsonDict:
    """Return the answer of the one flag that was evaluated."""
    return (
        success(evaluation.results[0]) if evaluation.results else failure("GENERAL", _FAILED, evaluation.failed[0].key)
    )


def _reason(result: FlagResult) -> FlagReason:
    """Return why a flag has its value: ``SPLIT`` where a hash decided, ``STATIC`` where everyone gets it."""
    flag, reason = result.flag, result.reason
    if reason in {"out_of_rollout_bound", "holdout_condition_value"}:
        return "SPLIT"
    if reason == "super_condition_value":
        return "TARGETING_MATCH"
    if reason != "condition_match":
        return "DEFAULT"
    release = next(one for one in flag.releases if one.index == result.condition_index)
    if release.rollout_fraction not in {None, 1.0} or (flag.variants and release.variant is None):
        return "SPLIT"
    return "STATIC" if release.matches is None and len(flag.releases) == 1 else "TARGETING_MATCH"
