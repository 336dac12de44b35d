"""From the JSON of a request to events: the wire format, times, events, requests."""
