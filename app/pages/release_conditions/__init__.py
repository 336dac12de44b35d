"""The editor of the release conditions of flags."""
