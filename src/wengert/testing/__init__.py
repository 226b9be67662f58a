"""Checks of derivatives: for the ops themselves and for users' functions."""
