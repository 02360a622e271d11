"""What can be set, and the file in which a person sets it."""
