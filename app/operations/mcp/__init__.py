"""The server of the Model Context Protocol, by which assistants use a running service with a key of the user."""
