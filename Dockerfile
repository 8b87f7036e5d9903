# xdpflanneld with the data plane built ahead: no compiler, no kernel headers and no bcc in the image, so
# --loader=bcc does not work in it and --loader=auto takes the object.
#
#   docker build -t xdpflannel .
#
# Both stages must be the same release: the virtual environment names that release's Python.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang libbpf-dev linux-libc-dev make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY xdpflannel xdpflannel
COPY bpf bpf
# The object's name carries the hash of the maps' and structs' layout; the package takes it along as data.
RUN make -C bpf \
    && python3 -m venv /opt/xdpflannel \
    && /opt/xdpflannel/bin/pip install --no-cache-dir .

FROM debian:bookworm-slim
# libbpf1 loads the object. The agent speaks netlink itself: iproute2 is not needed.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libbpf1 python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/xdpflannel /opt/xdpflannel
ENV PATH=/opt/xdpflannel/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["xdpflanneld"]
