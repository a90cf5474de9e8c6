"""Statistics of runs on one test split: intervals, comparisons, claims, and what a method costs beside how good it is."""
