"""The filters of metrics, read, and the queries of facts they make."""
