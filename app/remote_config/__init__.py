"""What browsers' SDKs fetch before anything else: how to behave, and their own scripts."""
