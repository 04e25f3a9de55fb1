"""What starts work, follows it, and finds it again when something died."""
