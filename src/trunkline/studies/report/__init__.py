"""The report of a study, from the facts in its results.json: which method, at what price, and is the difference real.

    from trunkline.studies.report import report
    report("studies/emotion")

A file for each group of tables: numbers as they are written (`numbers`), quality, costs, claims, details (labels, confusions),
examples (errors with their texts), provenance (runs, configs, data, versions), and figures. `html`, `markdown` and `latex` set
them; their numbers are CSV files. Importing `report` loads matplotlib and torch.
"""

from trunkline.studies.report.writing import Report, report

__all__ = ["Report", "report"]
