"""What goes on in the background: counting ahead of readers, and removing what nobody counts any more."""
