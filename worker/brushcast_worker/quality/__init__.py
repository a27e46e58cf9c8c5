"""Quality: the pocket model's pictures in figures, for `brushcast bench --quality` and for
training. No network judges: only the source, its motion and the teachers do.
"""
