# One static program on a base that holds nothing but certificates and a user.
#
#   docker build -t sidekey .
#   docker buildx build --platform linux/amd64,linux/arm64 -t sidekey .

# Arguments, so that a mirror or a stand-in (tests/image) can take their place.
ARG RUST_IMAGE=rust:1.95-trixie
ARG BASE_IMAGE=gcr.io/distroless/static-debian13:nonroot

# The machine that builds also compiles for the other kind: a release build under emulation takes hours.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG BUILDARCH
ARG TARGETARCH
# Versions come with the Debian release of the image.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
      "$BUILDARCH") rustc --print host-tuple >/target; exit ;; \
      amd64) target=x86_64-unknown-linux-gnu gcc=gcc-x86-64-linux-gnu libc=libc6-dev-amd64-cross ;; \
      arm64) target=aarch64-unknown-linux-gnu gcc=gcc-aarch64-linux-gnu libc=libc6-dev-arm64-cross ;; \
      *) echo "no build for $TARGETARCH: amd64 and arm64 only" >&2; exit 1 ;; \
    esac \
    && echo "$target" >/target \
    && rustup target add "$target" \
    && apt-get update \
    && apt-get install -y --no-install-recommends "$gcc" "$libc" \
    && rm -rf /var/lib/apt/lists/*
# Pages of arm64 kernels have 4, 16 or 64 KiB, and the allocator runs only where they are at most as large as it was told.
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    AARCH64_UNKNOWN_LINUX_GNU_JEMALLOC_SYS_WITH_LG_PAGE=16 \
    CARGO_PROFILE_RELEASE_STRIP=symbols
WORKDIR /build
COPY . .
ARG PROFILE=release
# One step, because the caches are no part of its result: what one step put there may be gone in the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    target=$(cat /target) \
    && cargo fetch --locked --target "$target" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --frozen --profile "$PROFILE" --bin sidekey --target "$target" \
    && install -D "target/$target/$PROFILE/sidekey" /image/usr/local/bin/sidekey \
    && install -D -m 0644 deploy/image/sidekey.toml /image/etc/sidekey/config/sidekey.toml \
    && install -d /image/etc/sidekey/keys /image/state

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sidekey" \
      org.opencontainers.image.description="A sidecar forward proxy that rotates, shares and hides captcha-vendor API keys" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="$BASE_IMAGE"
COPY --from=build /image/usr/local/bin/sidekey /usr/local/bin/sidekey
COPY --from=build /image/etc/sidekey /etc/sidekey
COPY --from=build --chown=65532:65532 /image/state /var/lib/sidekey
# For `healthcheck` and `status` inside the container as well.
ENV SIDEKEY_CONFIG=/etc/sidekey/config/sidekey.toml
# The store's default path is relative. Nothing else is ever written, so the root can be read-only.
WORKDIR /var/lib/sidekey
VOLUME /var/lib/sidekey
# As numbers: Kubernetes cannot tell whether a name is root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# The program itself gives up after 5 seconds.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/sidekey", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/sidekey"]
CMD ["run"]
