# An image of outboxd: docker build -t outboxd . && docker run --rm outboxd --help
#
# Untested: there was no container engine to build it with. hadolint finds nothing wrong with it.

FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# The revision of the source, for the metrics: --build-arg OUTBOXD_REVISION=$(git describe --always)
ARG OUTBOXD_REVISION=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && install target/release/outboxd /usr/local/bin/

FROM debian:bookworm-slim
# What https receivers are verified with. Which version is the business of the base image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin outboxd
COPY --from=build /usr/local/bin/outboxd /usr/bin/outboxd
COPY docs/outboxd.toml /etc/outboxd/outboxd.toml
# By number, so that what runs it can see that it is not root.
USER 10001
# Metrics and health, once admin.listen (and admin.token) let other machines in.
EXPOSE 9464
# Whether it lives: one that waits for its database must not be restarted for that.
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["outboxd", "health"]
# Drains within shutdown.grace (30s): give 'docker stop' and its like 45 seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["outboxd"]
CMD ["run"]
