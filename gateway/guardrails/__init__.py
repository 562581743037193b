"""Guardrails at work: what detectors and judges find becomes actions, in both directions, on streams, by policy.

What is found is the business of the plugins `guardrail.*`; the contract is in `hookspecs.py`.
"""
