"""Sessions, engines, migrations and tables of SQLite and PostgreSQL."""
