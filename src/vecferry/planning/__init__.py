"""Inspect, profile, prove, judge and plan: everything that happens before the first write.

Each step has a module of its own; this file imports none, so that reading `vecferry.planning.model` stays light.
"""
