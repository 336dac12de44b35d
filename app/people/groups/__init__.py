"""Groups, such as companies, and their properties."""
