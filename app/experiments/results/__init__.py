"""The verdict of 2022 on the target metric."""
