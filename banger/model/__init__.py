"""Nouns without I/O: what banger talks about.

Things that are stored or cross a socket are pydantic models; values that plugins declare are frozen dataclasses.
"""
