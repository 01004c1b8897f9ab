"""Procedural aerial photos of village parts with exact labels, in the layout of every dataset."""
