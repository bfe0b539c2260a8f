# A small image that holds Pointsman, what it is linked to, the system's certificate authorities, and nothing else:
# no shell, no package manager. `tests/image` makes the same file system without a container engine, and tries it.
#
#     docker build -t pointsman .
#     docker run -p 8080:8080 -v ./config:/etc/pointsman:ro pointsman
#
# The folder with `pointsman.toml` is mounted and not the file: an editor puts a new file in the place of the old one,
# and a file that is mounted by itself stays the old one.

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin pointsman \
    && tests/image rootfs target/release/pointsman /rootfs

FROM scratch
COPY --from=build /rootfs /
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
# The example configuration listens on 8080, those with TLS on 8443. Its admin address is of the container alone.
EXPOSE 8080 8443
# It asks the admin endpoint that the configuration has.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/pointsman", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pointsman"]
CMD ["run"]
