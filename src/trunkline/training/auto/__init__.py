"""`method: auto`: side branches of a fixed family are compared by successive halving, and the best of a task is its result.

family.py    the candidates
halving.py   which of them are trained how far
search.py    the search
choosing.py  the best are trained as the config says, and the better one is saved as the run's
"""
