"""Scheduled tasks. Each of them can safely run twice, run concurrently, or be killed at any time."""
