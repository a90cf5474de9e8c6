"""The engine over HTTP: an ASGI app (app.py), its routes, the page, and the server that runs it (run.py)."""
