# The operator's image: one static program, and nothing else. Both architectures are cross-compiled on the builder's own:
#   docker buildx build --platform linux/amd64,linux/arm64 --tag environment-manager:0.2.0 .

FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETARCH
WORKDIR /src
# ring has C in it: a compiler for the other architecture. The builder's own is there, by the same kind of name.
RUN case "$(dpkg --print-architecture)" in \
      amd64) other="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
      arm64) other="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
    esac \
    && apt-get update && apt-get install --yes --no-install-recommends $other && rm -rf /var/lib/apt/lists/*
ENV CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    RUSTFLAGS="-C target-feature=+crt-static"
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    case "$TARGETARCH" in \
      amd64) target=x86_64-unknown-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-gnu ;; \
      *) echo "no image for $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && rustup target add "$target" \
    && cargo build --locked --release --target "$target" --bin environment-manager \
    && cp "target/$target/release/environment-manager" /environment-manager

FROM scratch
LABEL org.opencontainers.image.title="Environment Manager" \
      org.opencontainers.image.description="An operator for the environments of a no-code platform" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"
COPY --from=build /environment-manager /environment-manager
# By number: there is no /etc/passwd that could give it a name.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/environment-manager"]
CMD ["run"]
