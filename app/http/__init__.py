"""What every endpoint shares: bodies, fields, errors, pages of lists, OpenAPI."""
