"""Code of the probe worker: reads headers and pixels of untrusted files.

The worker runs this package as `readers`, without the rest of the project: no Django, no settings, no secrets. All
input comes with each request.
"""
