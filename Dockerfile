# The server with MLflow and PostgreSQL support, at the versions of requirements.lock.
FROM python:3.13.7-slim-trixie@sha256:5f55cdf0c5d9dc1a415637a5ccc4a9e18663ad203673173b8cda8f8dcacef689 AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/featurestore \
    && sed -n '/^uv==/,/[^\\]$/p' requirements.lock > uv.lock \
    && python -m pip install --no-cache-dir --no-deps --require-hashes --requirement uv.lock
COPY pyproject.toml hatch_build.py LICENSE README.md ./
COPY definitions ./definitions
COPY featurestore ./featurestore
# The lock is a constraint here, not a list: the image takes what the extras need and no development tools. Its hashes are held against
# what comes, also against what only builds the package.
RUN uv pip install --no-cache --python /opt/featurestore/bin/python \
    --constraint requirements.lock --build-constraint requirements.lock ".[mlflow,oidc,postgres]"

FROM python:3.13.7-slim-trixie@sha256:5f55cdf0c5d9dc1a415637a5ccc4a9e18663ad203673173b8cda8f8dcacef689
RUN useradd --uid 10001 --create-home --home-dir /data featurestore
COPY --from=build /opt/featurestore /opt/featurestore
# In a container the loopback address would be reachable by nobody. The server refuses to listen on another one without FEATURESTORE_TOKEN.
ENV PATH=/opt/featurestore/bin:$PATH PYTHONUNBUFFERED=1 FEATURESTORE_HOME=/data FEATURESTORE_HOST=0.0.0.0 FEATURESTORE_PORT=8080
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=3)"]
CMD ["featurestore", "serve"]
