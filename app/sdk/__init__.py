"""What SDKs speak: encodings and requests."""
