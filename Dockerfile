# The node's image is one static binary, which `make images` builds:
#
#   make images && docker compose up
#
# It has no shell. Probes ask the binary itself: /civitas health.
FROM scratch
COPY bin/image/civitas /civitas
USER 65532:65532
ENTRYPOINT ["/civitas"]
CMD ["run"]
