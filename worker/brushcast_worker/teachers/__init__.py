"""The teachers: what each look means, as deterministic filters. The model learns from them, and
`bench --quality` holds it against them."""

from brushcast_worker.teachers.paintings import PAGED, TEACHERS, page, paint

__all__ = ["PAGED", "TEACHERS", "page", "paint"]
