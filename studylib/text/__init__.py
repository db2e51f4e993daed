"""Text as a model is sent it and as it is read."""
