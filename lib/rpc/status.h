/* gRPC status on the wire (grpc/doc/PROTOCOL-HTTP2.md, Responses). Every thread. */
#pragma once

#include "lib/base/bytes.h"

/* Appends text as the value of grpc-message: bytes outside of printable ASCII, and '%', as %XX. */
void rpc_status_encode_text(const char *text, struct buffer *to);

/* Appends the text that a grpc-message stands for. A '%' that starts no %XX is taken as it is, as
 * the specification asks. */
void rpc_status_decode_text(struct bytes value, struct buffer *to);

/* The code of a grpc-status; anything that is not one of gRPC's numbers is Unknown. */
enum error_code rpc_status_parse_code(struct bytes value);

/* The code for an HTTP status without a grpc-status (grpc/doc/http-grpc-status-mapping.md). */
enum error_code rpc_status_of_http(unsigned http_status);
