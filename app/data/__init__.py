"""Readers, transforms and loaders."""
