"""The web application: pages and a JSON API over a folder of runs and one live run, and who may come in."""
