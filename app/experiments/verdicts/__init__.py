"""The last verdict on each experiment, which the background keeps."""
