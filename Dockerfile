# All of Chronoset's programs in one image; which one a container runs, its command says: docker run IMAGE run worker
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
# For networks of one's own, empty for everybody else: an index, a folder of packages, a CA's certificate (both in the
# build's context, which is /src). What they say is not in the image.
ARG PIP_INDEX_URL=
ARG PIP_NO_INDEX=
ARG PIP_FIND_LINKS=
ARG PIP_CERT=
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/chronoset \
    && /opt/chronoset/bin/python -m pip install --no-cache-dir --disable-pip-version-check ".[docker]" \
    && /opt/chronoset/bin/python -m pip uninstall --yes --quiet pip setuptools

FROM ${PYTHON_IMAGE}
RUN echo 'chronoset:x:10001:10001::/var/lib/chronoset:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'chronoset:x:10001:' >>/etc/group \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/chronoset /keys /invitation
COPY --from=build /opt/chronoset /opt/chronoset
# The file system is read-only later, and the base image has no bytecode: compiled once, here, is what programs import.
RUN /opt/chronoset/bin/python -c 'import services.standalone, services.api.program, services.cli.writes'
ENV PATH=/opt/chronoset/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CHRONOSET_DATA_DIR=/var/lib/chronoset \
    CHRONOSET_KEYS_DIR=/keys \
    CHRONOSET_IMAGE_DIR=/images \
    CHRONOSET_HEALTH_FILE=/tmp/health
WORKDIR /var/lib/chronoset
USER 10001:10001
# A program touches the file while the log answers it (services/health_files.py).
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=60s \
    CMD test -n "$(find "$CHRONOSET_HEALTH_FILE" -newermt '-15 seconds' 2>/dev/null)"
ENTRYPOINT ["chronoset"]
CMD ["--help"]
