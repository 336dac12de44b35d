from tests.accounts.projects.conftest import neighbor, stranger

__all__ = ["neighbor", "stranger"]
