"""Pages about what was found: sections of pictures, tables and words, as one HTML file with its pictures and tables beside it.

    Page("what was learned", facts=[("task", "mood")], sections=[Section("Scores", tables=[table])]).files()

Whatever comes from data becomes text. Importing any of this but `rendering` loads matplotlib.
"""
