# One worker, or any `onhand` command: docker run … onhand topics create
FROM python:3.11-slim-bookworm

# Everything in the lock file has a wheel: no compiler, and hashes are checked.
WORKDIR /srv/onhand
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements.lock

COPY LICENSE ./
COPY domain/ domain/
COPY tables/ tables/
COPY agents/ agents/
COPY web/ web/
COPY app/ app/
# The same small program that `make setup` writes.
RUN printf '#!/usr/local/bin/python\nimport sys\n\nfrom app.commands import main\n\nsys.exit(main())\n' \
        > /usr/local/bin/onhand \
    && chmod +x /usr/local/bin/onhand \
    && python -m compileall -q . \
    && useradd --system --uid 10001 onhand \
    && install --directory --owner=onhand /data

ENV PYTHONPATH=/srv/onhand \
    PYTHONUNBUFFERED=1 \
    ONHAND_DATA_DIR=/data
USER onhand
VOLUME /data
EXPOSE 6066

# Alive, not ready: a worker that restores for minutes must not be killed for it. 127.0.0.1 is
# right as long as ONHAND_WEB_HOST is 0.0.0.0, which in a container it has to be; set ONHAND_URL
# to how other workers reach this one.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('ONHAND_WEB_PORT', '6066') + '/live', timeout=2)"]

# Python is process 1: SIGTERM commits what is folded and leaves the group.
ENTRYPOINT ["onhand"]
CMD ["worker"]
