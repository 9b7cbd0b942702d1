# What the public image nats:<version> is, built from the NATS server's Go
# module, for hosts that reach no registry of images. See `make images`.
FROM scratch
COPY bin/image/nats-server /nats-server
ENTRYPOINT ["/nats-server"]
