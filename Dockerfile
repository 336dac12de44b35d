# syntax=docker/dockerfile:1
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/abacus
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
RUN /opt/abacus/bin/pip install --no-cache-dir .

FROM ${BASE}
ENV PATH="/opt/abacus/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ABACUS_DATABASE_URL="sqlite:////data/abacus.db"
COPY --from=build /opt/abacus /opt/abacus
RUN install --directory --owner=10001 --group=10001 /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/_livez', timeout=2)"]
ENTRYPOINT ["abacus"]
CMD ["serve", "--host", "0.0.0.0"]
