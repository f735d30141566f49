"""aar: a team of automated alignment researchers on one problem, under one budget.

``aar start`` runs a campaign; these are its packages, in the order of their imports
(upper may import lower, never the other way): cli, web, campaign, report, researcher, scoring,
forum / budget / snapshots, sandbox, problems, store, events, settings, errors.
"""

__version__ = "0.1.0"
