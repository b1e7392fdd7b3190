# Image of web, worker and beat. It contains no secrets. Only /data and /tmp are writable.
# HEIC=1 adds the decoder of HEIC, which is under the GPL: docs/adr/0012-packages-under-the-gpl-are-optional.md.
FROM python:3.12-slim AS build
ARG HEIC=
COPY requirements.lock requirements-heic.lock /
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        --requirement "/requirements${HEIC:+-heic}.lock"

FROM python:3.12-slim
# Probe workers, which read untrusted files, drop network and exec with libseccomp.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libseccomp2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent rokka \
    && install --directory --owner rokka --group rokka /data
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1
# Static files of the admin and the API docs. The settings require values, which are not used or stored.
RUN ROKKA_MODE=production DATA_DIR=/tmp ALLOWED_HOSTS=build \
    SECRET_KEY=only-while-this-image-is-being-built TOKEN_SECRETS=only-while-this-image-is-being-built \
    DATABASE_URL=sqlite:////tmp/build REDIS_URL=redis://build STORAGE_URL=file:///tmp/files \
    python manage.py collectstatic --noinput \
    && python -m compileall -q rokka organizations sourceimages rendering

ENV ROKKA_MODE=production SANDBOX=required DATA_DIR=/data
USER rokka
VOLUME /data
EXPOSE 8000
# Django only accepts a Host header in ALLOWED_HOSTS.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import os, urllib.request as web; \
host = os.environ.get('ALLOWED_HOSTS', '').split(',')[0].strip().lstrip('.*') or 'localhost'; \
web.urlopen(web.Request('http://127.0.0.1:8000/health/live', headers={'Host': host}), timeout=4)"]
# Check settings and sandbox first: granian exits with 1 when its web processes exit with 78.
CMD ["sh", "-c", "python -m rokka.wsgi && exec granian --interface wsgi --host 0.0.0.0 --port 8000 --workers \"${WEB_CONCURRENCY:-2}\" --blocking-threads \"${WEB_THREADS:-32}\" --http 1 --no-ws --backlog 4096 --backpressure 16384 --respawn-failed-workers --respawn-interval 15 --log-level warning --log-config deploy/granian.json rokka.wsgi:application"]
