"""Reads an ExportTraceServiceRequest with the definitions that OpenTelemetry publishes, and prints its spans as JSON."""

import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def texts(pairs):
    found = {}
    for pair in pairs:
        value = getattr(pair.value, pair.value.WhichOneof("value"))
        found[pair.key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


body = sys.stdin.buffer.read()
request = ExportTraceServiceRequest.FromString(body)
# Whatever these definitions do not know, or know otherwise, comes out in another place or form.
assert request.SerializeToString(deterministic=True) == body, "it is not what it would be written as"
spans = []
for resource in request.resource_spans:
    for scope in resource.scope_spans:
        assert scope.scope.name == "pointsman" and scope.scope.version
        for span in scope.spans:
            spans.append(
                {
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "name": span.name,
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "flags": span.flags,
                    "attributes": texts(span.attributes),
                    "error": span.status.message if span.status.code == 2 else None,
                    "resource": texts(resource.resource.attributes),
                }
            )
print(json.dumps(spans))
