"""How long a study takes and what it needs: measured on a few rows before it is trained, and kept beside what it then took."""
