# syntax=docker/dockerfile:1
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
# Settings of pip, for builds that use a mirror or a folder of wheels.
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /src
RUN python3 -m venv /opt/abacus
# Exact versions, each checked against its hashes; a layer of their own, because they change less often than the code.
COPY requirements.lock ./
RUN /opt/abacus/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
RUN /opt/abacus/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && /opt/abacus/bin/pip check \
    && /opt/abacus/bin/pip uninstall --yes pip \
    && install --directory --owner=10001 --group=10001 /data

# The documentation as a site: nothing of what builds it is in the image.
FROM ${BASE} AS guide
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
WORKDIR /src
RUN python3 -m venv /opt/mkdocs
COPY docs/site/requirements.lock ./docs/site/
RUN /opt/mkdocs/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement docs/site/requirements.lock
COPY docs ./docs
RUN NO_MKDOCS_2_WARNING=1 /opt/mkdocs/bin/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml --site-dir /guide

FROM ${BASE}
ARG REVISION=""
LABEL org.opencontainers.image.title="Abacus" \
      org.opencontainers.image.description="An open experimentation service" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
# Bytecode is compiled during the build; only /data and, if mounted, /tmp are written.
ENV PATH="/opt/abacus/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ABACUS_DATABASE_URL="sqlite:////data/abacus.db" \
    ABACUS_IMPORTS_DIRECTORY=/data/imports \
    ABACUS_GUIDE_DIRECTORY=/opt/abacus/guide
COPY --from=build /opt/abacus /opt/abacus
COPY --from=guide /guide /opt/abacus/guide
COPY --from=build --chown=10001:10001 /data /data
VOLUME /data
# Numeric, because runAsNonRoot of Kubernetes cannot resolve names.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-m", "app.operations.healthcheck"]
ENTRYPOINT ["abacus"]
CMD ["serve", "--host", "0.0.0.0"]
