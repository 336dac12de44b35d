"""Analysis of counts and planning of experiments from numbers in the request, without any event."""
