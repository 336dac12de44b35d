"""Sessions of people on the pages, and links that begin one."""
