"""Procedural aerial photos of village parts with exact labels, and RID's folders full of them."""
