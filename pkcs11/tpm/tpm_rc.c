#include "pkcs11/tpm/tpm_rc.h"

#include <tss2/tss2_rc.h>

/* Codes are compared after tpm_rc_reduce. TPM 2.0 Part 2 6.6. */
struct rule {
    TSS2_RC first, last;
    enum tpm_reaction reaction;
    enum error_code error;
    const char *text; /* instead of the library's, for our own codes */
    const char *advice;
};

static const struct rule rules[] = {
    {TPM2_RC_INITIALIZE, TPM2_RC_INITIALIZE, TPM_REACTION_STARTUP, ERROR_UNAVAILABLE, NULL,
     "the firmware or the kernel has not started the TPM; a reboot does"},
    {TPM2_RC_FAILURE, TPM2_RC_FAILURE, TPM_REACTION_REBUILD, ERROR_UNAVAILABLE, NULL,
     "a TPM in failure mode answers again after a power cycle"},
    {TPM2_RC_CONTEXT_GAP, TPM2_RC_CONTEXT_GAP, TPM_REACTION_NEW_SESSION, ERROR_UNAVAILABLE, NULL,
     "another program keeps a saved session for too long; end it"},
    {TPM2_RC_OBJECT_MEMORY, TPM2_RC_OBJECT_MEMORY, TPM_REACTION_MAKE_ROOM, ERROR_UNAVAILABLE, NULL,
     "other programs fill the TPM's object slots; use the resource manager (device:/dev/tpmrm0) or "
     "run tpm2_flushcontext -t"},
    {TPM2_RC_SESSION_MEMORY, TPM2_RC_SESSION_MEMORY, TPM_REACTION_NEW_SESSION, ERROR_UNAVAILABLE,
     NULL,
     "other programs fill the TPM's session slots; use the resource manager (device:/dev/tpmrm0) "
     "or "
     "run tpm2_flushcontext -l"},
    {TPM2_RC_MEMORY, TPM2_RC_MEMORY, TPM_REACTION_MAKE_ROOM, ERROR_UNAVAILABLE, NULL,
     "other programs fill the TPM's memory"},
    {TPM2_RC_SESSION_HANDLES, TPM2_RC_SESSION_HANDLES, TPM_REACTION_NEW_SESSION, ERROR_UNAVAILABLE,
     NULL, "other programs hold all session handles; run tpm2_flushcontext -s"},
    {TPM2_RC_YIELDED, TPM2_RC_TESTING, TPM_REACTION_RESEND, ERROR_UNAVAILABLE, NULL,
     "the TPM stayed busy"},
    {TPM2_RC_REFERENCE_H0, TPM2_RC_REFERENCE_S6, TPM_REACTION_REBUILD, ERROR_UNAVAILABLE, NULL,
     "the TPM was reset, or another program flushed our handles, again and again"},
    {TPM2_RC_NV_RATE, TPM2_RC_NV_RATE, TPM_REACTION_RESEND, ERROR_UNAVAILABLE, NULL,
     "the TPM spares its memory; try later"},
    {TPM2_RC_LOCKOUT, TPM2_RC_LOCKOUT, TPM_REACTION_FAIL, ERROR_UNAVAILABLE,
     "the TPM is in dictionary attack lockout",
     "after wrong passwords or unclean stops; it ends by itself, or at once by "
     "tpm2_dictionarylockout -c"},
    {TPM2_RC_RETRY, TPM2_RC_RETRY, TPM_REACTION_RESEND, ERROR_UNAVAILABLE, NULL,
     "the TPM stayed busy"},
    {TPM2_RC_NV_UNAVAILABLE, TPM2_RC_NV_UNAVAILABLE, TPM_REACTION_RESEND, ERROR_UNAVAILABLE, NULL,
     "the TPM's memory cannot be written now"},
    {TPM2_RC_AUTH_FAIL, TPM2_RC_AUTH_FAIL, TPM_REACTION_FAIL, ERROR_FAILED_PRECONDITION, NULL,
     "an authorization value is set where none is expected"},
    {TPM2_RC_BAD_AUTH, TPM2_RC_BAD_AUTH, TPM_REACTION_REBUILD, ERROR_FAILED_PRECONDITION, NULL,
     "the owner hierarchy or the storage primary has a password, or commands are changed on their "
     "way; where the owner has a password, persist a primary of our template at 0x81000001"},
    {TPM2_RC_HANDLE, TPM2_RC_HANDLE, TPM_REACTION_REBUILD, ERROR_UNAVAILABLE, NULL,
     "an object was removed, such as a storage primary persisted at 0x81000001"},
    {TPM2_RC_INTEGRITY, TPM2_RC_INTEGRITY, TPM_REACTION_FAIL, ERROR_NOT_FOUND, NULL,
     "the key was made by another TPM, or this one was cleared or replaced since; make a new key"},
    /* Below: the layers of the library, whole. */
    {TSS2_SYS_RC_LAYER, TSS2_SYS_RC_LAYER | 0xffff, TPM_REACTION_REOPEN, ERROR_UNAVAILABLE, NULL,
     "the answer was not a TPM's"},
    {TSS2_MU_RC_LAYER, TSS2_MU_RC_LAYER | 0xffff, TPM_REACTION_REOPEN, ERROR_UNAVAILABLE, NULL,
     "the answer was not a TPM's"},
    {TSS2_TCTI_RC_LAYER, TSS2_TCTI_RC_LAYER | 0xffff, TPM_REACTION_REOPEN, ERROR_UNAVAILABLE, NULL,
     "is the TPM there, is its driver, simulator or resource manager running, and is the setting "
     "tcti right?"},
    {TSS2_RESMGR_RC_LAYER, TSS2_RESMGR_RC_LAYER | 0xff, TPM_REACTION_REOPEN, ERROR_UNAVAILABLE,
     NULL, "the resource manager is in trouble"},
    {TPM_RC_TAMPERED, TPM_RC_TAMPERED, TPM_REACTION_REBUILD, ERROR_UNAVAILABLE,
     "the answer is not authentic",
     "something between this host and its TPM changes what passes, or another program uses our "
     "session"},
    {TPM_RC_OTHER_PRIMARY, TPM_RC_OTHER_PRIMARY, TPM_REACTION_FAIL, ERROR_FAILED_PRECONDITION,
     "the storage primary is not the one known from before",
     "the TPM was cleared or replaced, or someone sits between this host and its TPM"},
    {TPM_RC_NO_PRIMARY, TPM_RC_NO_PRIMARY, TPM_REACTION_FAIL, ERROR_UNIMPLEMENTED,
     "the TPM makes neither a P-256 nor an RSA-2048 storage primary",
     "is it a TPM 2.0 of the PC Client profile?"},
    {TPM_RC_BAD_ANSWER, TPM_RC_BAD_ANSWER, TPM_REACTION_FAIL, ERROR_INTERNAL,
     "the answer is authentic but not what was asked for", "is the TPM's firmware up to date?"},
    {TPM_RC_CRYPTO, TPM_RC_CRYPTO, TPM_REACTION_FAIL, ERROR_INTERNAL,
     "OpenSSL refused a computation of the session", "is a restricted provider configured?"},
    {TPM_RC_PSS_SALT, TPM_RC_PSS_SALT, TPM_REACTION_FAIL, ERROR_UNIMPLEMENTED,
     "this TPM's RSA-PSS signatures have a salt that is not as long as the digest",
     "use ECDSA keys, or RSA with PKCS #1 v1.5"},
    {TPM_RC_BAD_REQUEST, TPM_RC_BAD_REQUEST, TPM_REACTION_FAIL, ERROR_INVALID_ARGUMENT,
     "the signature scheme or digest does not fit the key", NULL},
    {TPM_RC_OTHER_EK, TPM_RC_OTHER_EK, TPM_REACTION_FAIL, ERROR_FAILED_PRECONDITION,
     "the endorsement key is not the one known from before",
     "the TPM was replaced, or its manufacturer's secrets were cleared"},
    {TPM_RC_ENDORSEMENT_PASSWORD, TPM_RC_ENDORSEMENT_PASSWORD, TPM_REACTION_FAIL,
     ERROR_FAILED_PRECONDITION, "the endorsement hierarchy has a password",
     "persist the endorsement key of a certificate of the high range, or take the password off by "
     "tpm2_changeauth -c endorsement"},
    {TPM_RC_EK_LOCKOUT, TPM_RC_EK_LOCKOUT, TPM_REACTION_FAIL, ERROR_FAILED_PRECONDITION,
     "the TPM is in dictionary attack lockout, which its endorsement key is not exempt from",
     "it ends by itself, or at once by tpm2_dictionarylockout -c"},
    {TPM_RC_CREDENTIAL, TPM_RC_CREDENTIAL, TPM_REACTION_FAIL, ERROR_PERMISSION_DENIED,
     "the credential is not for this endorsement key and this attestation key",
     "it was made for another host, for an attestation key of before, or it was changed"},
    /* Whoever asks again at once only waits as long again; the keystore does so from time to time.
     */
    {TPM_RC_OVERDUE, TPM_RC_OVERDUE, TPM_REACTION_FAIL, ERROR_UNAVAILABLE,
     "the TPM has not answered in far more time than any needs",
     "it hangs, or its driver, simulator or resource manager does, or another program keeps it; it "
     "is asked again until it answers"},
};

/* A TPM's code without the layer of a resource manager that passed it on, and without the number of
 * the parameter, handle or session that it speaks of. */
static TSS2_RC tpm_rc_reduce(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
    TSS2_RC code = rc & 0xffff;
    bool is_passed_on = layer == TSS2_RESMGR_TPM_RC_LAYER ||
                        (layer == TSS2_RESMGR_RC_LAYER && code >= TPM2_RC_FMT1);
    if (layer != TSS2_TPM_RC_LAYER && !is_passed_on) {
        return rc;
    }
    return code & TPM2_RC_FMT1 ? code & 0xbf : code;
}

static bool is_format_1(TSS2_RC rc)
{
    return tpm_rc_reduce(rc) != rc && (rc & TPM2_RC_FMT1);
}

static const struct rule *find_rule(TSS2_RC rc)
{
    static const struct rule unknown = {.reaction = TPM_REACTION_FAIL, .error = ERROR_INTERNAL};
    static const struct rule not_parameter = {
        .reaction = TPM_REACTION_REBUILD,
        .error = ERROR_UNAVAILABLE,
        .advice = "a handle or session is not what it was, again and again",
    };
    TSS2_RC reduced = tpm_rc_reduce(rc);
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        if (reduced >= rules[i].first && reduced <= rules[i].last) {
            return &rules[i];
        }
    }
    return is_format_1(rc) && !(rc & TPM2_RC_P) && (rc & TPM2_RC_N_MASK) ? &not_parameter
                                                                         : &unknown;
}

enum tpm_reaction tpm_rc_reaction(TSS2_RC rc)
{
    return find_rule(rc)->reaction;
}

bool tpm_rc_is(TSS2_RC rc, TSS2_RC code)
{
    return tpm_rc_reduce(rc) == code;
}

bool tpm_rc_is_integrity(TSS2_RC rc)
{
    return tpm_rc_reduce(rc) == TPM2_RC_INTEGRITY;
}

bool tpm_rc_is_handle(TSS2_RC rc)
{
    TSS2_RC code = tpm_rc_reduce(rc);
    return code == TPM2_RC_HANDLE || (code >= TPM2_RC_REFERENCE_H0 && code <= TPM2_RC_REFERENCE_H6);
}

bool tpm_rc_is_bad_auth(TSS2_RC rc)
{
    return tpm_rc_reduce(rc) == TPM2_RC_BAD_AUTH;
}

bool tpm_rc_is_parameter(TSS2_RC rc)
{
    return is_format_1(rc) && (rc & TPM2_RC_P);
}

int tpm_rc_error(struct error *err, TSS2_RC rc, const char *command)
{
    const struct rule *rule = find_rule(rc);
    const char *text = rule->text ? rule->text : Tss2_RC_Decode(rc);
    const char *separator = rule->advice ? "; " : "";
    const char *advice = rule->advice ? rule->advice : "";
    if (rc == TPM_RC_CRYPTO) {
        return error_set_openssl(err, rule->error, "%s failed: %s%s%s", command, text, separator,
                                 advice);
    }
    return error_set(err, rule->error, "%s failed: %s (0x%x)%s%s", command, text, rc, separator,
                     advice);
}
