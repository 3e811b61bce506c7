"""Layouts of our own, for whoever reads payloads without a framework."""

from __future__ import annotations

from vecferry.layouts.model import Layout

PLAIN = Layout(name="plain", document_key="document")
FLAT = Layout(name="flat", document_key="document", metadata_key=None)
