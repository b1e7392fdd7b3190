"""Scheduled tasks. No user asks for them; each may run twice, at once, or be killed at any moment."""
