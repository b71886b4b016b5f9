/* This process's X.509 identities, as the Workload API and HardwareIdentity tell them. */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "client/command.h"
#include "lib/rpc/client.h"

/* One identity; borrowed from the response it came with. */
struct identity {
    const char *spiffe_id;
    struct bytes chain, bundle; /* DER certificates, one after the other */
    struct bytes key;           /* PKCS#8 DER of a delivered key, else empty */
    const char *key_uri;        /* of a key that stays, else "" */
    const char *hint, *protection, *keystore;
};

struct identity_list {
    struct identity *items;
    size_t count;
};
void identity_list_clear(struct identity_list *list);

/* The two services that tell of identities. */
struct identity_source {
    const char *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *response;
    /* Appends what the response says; borrowed from it. */
    void (*append)(const ProtobufCMessage *response, struct identity_list *list);
};
enum { IDENTITY_SOURCES = 2 };
extern const struct identity_source identity_sources[IDENTITY_SOURCES];

/* Zeroes and frees a response of a source; NULL is allowed. */
void identity_response_free(ProtobufCMessage *response);

/* Whether a source that fails so has just nothing to say: no identity of its kind, or an agent that
 * does not know the service. */
bool identity_is_none(const struct error *failure);

/* Prints them for people. */
int identity_list_print(const struct identity_list *list, struct error *err);
/* The same for programs, as an array; never with a key. The caller decrefs. */
int identity_list_json(const struct identity_list *list, json_t **ret_array, struct error *err);
