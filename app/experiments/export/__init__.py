"""The figures of an experiment as flat tables: CSV and lines of JSON."""
