"""Bring pushed events into the online store as they come."""
