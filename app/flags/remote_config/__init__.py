"""The configuration and the scripts of the browser SDK."""
