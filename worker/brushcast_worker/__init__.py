"""Brushcast's worker: weights, streams and the streaming diffusion pipeline. Needs torch."""
