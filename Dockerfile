# mantlet in a container: one static program, without a shell, without root.
#
#     docker build --tag mantlet .                                        # the sidecar, without "mantlet ca"
#     docker build --tag mantlet-authority --target mantlet-authority .   # with it
#     docker build --tag flea-market --target flea-market .               # the services of demo/docker-compose.yml
#
# It builds for the architecture of the builder. --build-arg PROFILE=dev compiles in a fraction of the time, into something slower.
# --build-arg MANTLET_COMMIT=$(git rev-parse --short=12 HEAD) is what "mantlet --version" says: the builder sees no history.

# What mantlet depends on changes rarely: it is compiled once, from the manifests and empty programs.
FROM rust:1-bookworm AS dependencies
WORKDIR /source
# Programs without a dynamic linker. With a target named, whatever runs in the compiler is still built as usual.
ENV RUSTFLAGS="-C target-feature=+crt-static"
COPY Cargo.toml Cargo.lock build.rs ./
COPY demo/Cargo.toml demo/build.rs demo/
COPY benches/compare/Cargo.toml benches/compare/
RUN for file in src/main.rs demo/src/main.rs benches/compare/src/main.rs benches/micro/main.rs tests/it/main.rs demo/tests/it/main.rs; do \
        mkdir -p "$(dirname "$file")" && echo 'fn main() {}' >"$file" || exit 1; \
    done && touch src/lib.rs && mkdir /owned
ARG PROFILE=release
RUN cargo build --locked --profile "$PROFILE" --target "$(rustc --print host-tuple)" --package mantlet --no-default-features --features spiffe

# What both images of mantlet have beside the program.
FROM scratch AS base
# The public CAs: for a jwks_anchors that names this file, and for nothing else.
COPY --from=dependencies /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Where volumes are mounted: a new one takes its owner from here.
COPY --from=dependencies --chown=65532:65532 /owned /etc/mantlet/certs
COPY --from=dependencies --chown=65532:65532 /owned /var/lib/mantlet
ENV PATH=/usr/local/bin
USER 65532:65532
HEALTHCHECK --interval=2s --timeout=5s --start-period=30s CMD ["mantlet", "health"]
ENTRYPOINT ["mantlet"]

FROM dependencies AS mantlet-build
COPY src src
ARG PROFILE=release
ARG MANTLET_COMMIT=unknown
# Cargo goes by the time of a file, and the empty programs are younger than the real ones.
RUN touch src/main.rs src/lib.rs \
 && cargo build --locked --profile "$PROFILE" --target "$(rustc --print host-tuple)" --package mantlet --no-default-features --features spiffe \
 && mkdir -p /image/usr/local/bin \
 && strip -o /image/usr/local/bin/mantlet target/*/*/mantlet

FROM base AS mantlet
COPY --from=mantlet-build /image /
CMD ["run", "/etc/mantlet/mantlet.toml"]

# What issues, with its database.
FROM dependencies AS authority-dependencies
ARG PROFILE=release
RUN cargo build --locked --profile "$PROFILE" --target "$(rustc --print host-tuple)" --package mantlet

FROM authority-dependencies AS authority-build
COPY src src
ARG PROFILE=release
ARG MANTLET_COMMIT=unknown
RUN touch src/main.rs src/lib.rs \
 && cargo build --locked --profile "$PROFILE" --target "$(rustc --print host-tuple)" --package mantlet \
 && mkdir -p /image/usr/local/bin \
 && strip -o /image/usr/local/bin/mantlet target/*/*/mantlet

FROM base AS mantlet-authority
COPY --from=authority-build /image /
CMD ["ca", "serve", "/etc/mantlet/authority.toml"]

FROM authority-dependencies AS flea-market-dependencies
ARG PROFILE=release
RUN cargo build --locked --profile "$PROFILE" --target "$(rustc --print host-tuple)" --package flea-market

FROM flea-market-dependencies AS flea-market-build
COPY demo demo
ARG PROFILE=release
RUN touch demo/src/main.rs \
 && cargo build --locked --profile "$PROFILE" --target "$(rustc --print host-tuple)" --package flea-market \
 && mkdir -p /image/usr/local/bin \
 && strip -o /image/usr/local/bin/flea-market target/*/*/flea-market \
 && mkdir -p /owned/certs /owned/keys && cd /owned && mkdir pki && cd pki \
 && mkdir authority others gateway adservice userservice ads-db users-db issuer client attacker

FROM mantlet-authority AS flea-market
COPY --from=flea-market-build /image /
COPY --from=flea-market-build --chown=65532:65532 /owned /
HEALTHCHECK NONE
ENTRYPOINT ["flea-market"]
CMD ["--help"]

# What is built where no target is named.
FROM mantlet
