# One worker, or any `onhand` command: docker run … onhand topics create
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends make
WORKDIR /build
COPY Makefile LICENSE requirements.lock ./
COPY core/ core/
COPY domain/ domain/
COPY importers/ importers/
COPY wire/ wire/
COPY tables/ tables/
COPY ledger/ ledger/
COPY audit/ audit/
COPY agents/ agents/
COPY web/ web/
COPY app/ app/
# Everything in the lock file has a wheel: no compiler, and hashes are checked.
RUN make install DIR=/srv/onhand

FROM python:3.11-slim-bookworm
COPY --from=build /srv/onhand/ /srv/onhand/
WORKDIR /srv/onhand
RUN ln -s /srv/onhand/.venv/bin/onhand /usr/local/bin/onhand \
    && useradd --system --uid 10001 onhand \
    && install --directory --owner=onhand /data

ENV PYTHONUNBUFFERED=1 \
    ONHAND_DATA_DIR=/data
USER onhand
VOLUME /data
EXPOSE 6066

# Alive, not ready: a worker that restores for minutes must not be killed for it. 127.0.0.1 is
# right as long as ONHAND_WEB_HOST is 0.0.0.0, which in a container it has to be; set ONHAND_URL
# to how other workers reach this one. It asks itself, so its certificate need not name 127.0.0.1.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import os, ssl, urllib.request as r; r.urlopen('http' + 's' * bool(os.environ.get('ONHAND_TLS_CERT')) + '://127.0.0.1:' + os.environ.get('ONHAND_WEB_PORT', '6066') + '/live', timeout=2, context=ssl._create_unverified_context())"]

# Python is process 1: SIGTERM commits what is folded and leaves the group.
ENTRYPOINT ["onhand"]
CMD ["worker"]
