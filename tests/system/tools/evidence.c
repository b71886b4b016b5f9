/* Asks for evidence about itself by libsignet, with what a program outside of signet has: the
 * public header and the shared library. evidence NONCE-AS-TEXT [SPIFFE-ID [CHALLENGE]]; exits with
 * the code of the error. */
#include <signet/evidence.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct signet_error error;
    char *evidence = NULL;
    struct signet_evidence_request request = {.struct_size = sizeof(request)};
    if (argc < 2) {
        (void)fputs("usage: evidence NONCE [SPIFFE-ID [CHALLENGE]]\n", stderr);
        return 2;
    }
    request.nonce = argv[1];
    request.nonce_size = strlen(argv[1]);
    request.spiffe_id = argc > 2 ? argv[2] : NULL;
    request.challenge = argc > 3 ? argv[3] : NULL;
    if (signet_evidence_fetch(&request, &evidence, &error) < 0) {
        (void)fprintf(stderr, "%s\n", error.text);
        return error.code;
    }
    (void)fputs(evidence, stdout);
    signet_evidence_free(evidence);
    return 0;
}
