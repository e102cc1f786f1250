# A stand-in for python:3.12-slim-bookworm; docker/base-images.sh hands CPython in as the build context `cpython`.
FROM debian:bookworm-slim
ENV LANG=C.UTF-8
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libbz2-1.0 libcrypt1 libexpat1 libffi8 liblzma5 libncursesw6 libnsl2 libreadline8 libsqlite3-0 libssl3 libtirpc3 libuuid1 zlib1g tzdata \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=cpython . /usr/local/
RUN ldconfig \
    && ln -s python3.12 /usr/local/bin/python3 \
    && ln -s python3.12 /usr/local/bin/python \
    && python -m ensurepip \
    && python -c "import bz2, ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib, multiprocessing.synchronize" \
    && ! find /usr/local/lib/python3.12/lib-dynload -name '*.so' -exec ldd {} + | grep "not found"
CMD ["python3"]
