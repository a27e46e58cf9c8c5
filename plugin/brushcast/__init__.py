"""Brushcast: live AI restyling of video. The light side: no torch, no weights."""

__version__ = "0.1.0"
