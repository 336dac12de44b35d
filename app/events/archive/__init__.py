"""Events in ClickHouse: copied there in the order of their sequence numbers, and then removed from the database."""
