"""The audit that reads a submission's code without running it."""

from __future__ import annotations

from aar.scoring.audits.static.static_audit import StaticAudit, StaticReport, audit_result, check_code, list_modules

__all__ = ["StaticAudit", "StaticReport", "audit_result", "check_code", "list_modules"]
