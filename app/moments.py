"""Moments as whole microseconds since 1970 in UTC: the form in which events, facts and numpy know them."""

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def to_microseconds(moment: dt.datetime) -> int:
    """Return an aware moment as microseconds. Exact: no floating point is involved."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> dt.datetime:
    """Return microseconds as a moment in UTC."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)
