"""Files as text: what a PDF, an office file, a picture or a plain text says, for guardrails to judge.

What a file is, its bytes say (`kinds.py`). What can be slow or grow runs in a process of its own (`reader.py`).
"""
