"""The hot folder: the only code that moves a user's file."""
