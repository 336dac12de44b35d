"""The form that creates flags, and changes what they are."""
