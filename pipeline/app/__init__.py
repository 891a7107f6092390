"""The web page of app.py. Gradio is needed by `page` and `server` alone; from request to files there is none of it."""
