"""What finds personal data and secrets in a text: pure functions over strings, without policy, network or state.

Start with `normalise.fold` (tricks with characters), then `patterns` (linear-time matching), then `pii` and `secrets`.
"""
