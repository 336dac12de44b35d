from tests.accounts.projects.conftest import neighbour, stranger

__all__ = ["neighbour", "stranger"]
