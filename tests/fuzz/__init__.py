"""Fuzzing a real server for as long as one likes: `python -m tests.fuzz --minutes 60`."""
