#include "attest/host/host_ek.h"

#include <string.h>

#include "attest/host/host_state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "pkcs11/tpm/tpm_nv.h"

DEFINE_CLEANUP(X509, x509, X509_free);
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free);

/* TCG: where certificates of those who issued the EK's lie, one after the other over all of these
 * (EK Credential Profile 2.2.1.5.2); and where persistent EKs are (Registry of Reserved Handles).
 */
#define CHAIN_FIRST ((TPM2_HANDLE)0x01c00100)
#define CHAIN_LAST ((TPM2_HANDLE)0x01c001ff)
#define PERSISTENT_FIRST ((TPM2_HANDLE)0x81010000)
#define PERSISTENT_LAST ((TPM2_HANDLE)0x8101ffff)

enum { PERSISTENT_MAX = 8, CHAIN_INDICES_MAX = 16, REQUEST_INDICES = 2, NV_LIMIT_BYTES = 8 << 10 };

/* What there is to choose from. */
struct survey {
    struct keystore *keystore;
    TPML_HANDLE indices; /* NV */
    struct {
        TPM2_HANDLE handle;
        const struct ek_template *template;
        TPM2B_PUBLIC public;
    } persistent[PERSISTENT_MAX];
    size_t persistent_count;
};

static TSS2_RC add_persistent(struct tpm_device *device, struct survey *survey, TPM2_HANDLE handle)
{
    TPM2B_PUBLIC public;
    TSS2_RC rc = tpm_command_read_public(&device->transport, handle, &public, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        return tpm_rc_is_handle(rc) ? TSS2_RC_SUCCESS : rc;
    }
    const struct ek_template *template = ek_template_of(&public.publicArea);
    if (template && survey->persistent_count < PERSISTENT_MAX) {
        size_t place = survey->persistent_count++;
        survey->persistent[place].handle = handle;
        survey->persistent[place].template = template;
        survey->persistent[place].public = public;
    }
    return TSS2_RC_SUCCESS;
}

static TSS2_RC survey_operation(struct tpm_device *device, void *argument)
{
    struct survey *survey = argument;
    TPML_HANDLE handles = {0};
    survey->persistent_count = 0;
    TSS2_RC rc = tpm_command_handles(&device->transport, TPM_HANDLES_NV_EK, &survey->indices);
    if (rc == TSS2_RC_SUCCESS) {
        rc = tpm_command_handles(&device->transport, PERSISTENT_FIRST, &handles);
    }
    for (size_t i = 0;
         rc == TSS2_RC_SUCCESS && i < MIN(handles.count, ARRAY_SIZE(handles.handle)) &&
         handles.handle[i] <= PERSISTENT_LAST;
         i++) {
        rc = add_persistent(device, survey, handles.handle[i]);
    }
    return rc;
}

static int run_survey(void *state, void *argument, struct error *err)
{
    return host_attempt(state, survey_operation, argument, err);
}

static bool has_index(const struct survey *survey, TPM2_HANDLE index)
{
    for (size_t i = 0; i < MIN(survey->indices.count, ARRAY_SIZE(survey->indices.handle)); i++) {
        if (survey->indices.handle[i] == index) {
            return true;
        }
    }
    return false;
}

struct nv_reading {
    TPM2_HANDLE index;
    struct buffer *contents;
    size_t offset; /* where they begin */
};

/* What cannot be read for good is as good as not there; the reason is told. */
static TSS2_RC nv_operation(struct tpm_device *device, void *argument)
{
    struct nv_reading *reading = argument;
    reading->contents->size = reading->offset;
    TSS2_RC rc =
        tpm_nv_read_all(&device->transport, reading->index, NV_LIMIT_BYTES, reading->contents);
    if (rc != TSS2_RC_SUCCESS && (tpm_rc_reaction(rc) == TPM_REACTION_FAIL ||
                                  tpm_rc_is_handle(rc) || tpm_rc_is_bad_auth(rc))) {
        struct error reason;
        (void)tpm_rc_error(&reason, rc, device->transport.command);
        log_warning("keystore %s: the NV index 0x%x, which has an EK certificate by its number, "
                    "cannot be read: %s",
                    device->name, reading->index, reason.text);
        reading->contents->size = reading->offset;
        return TSS2_RC_SUCCESS;
    }
    return rc;
}

static int run_nv(void *state, void *argument, struct error *err)
{
    return host_attempt(state, nv_operation, argument, err);
}

static int read_index(const struct survey *survey, TPM2_HANDLE index, struct buffer *contents,
                      struct error *err)
{
    struct nv_reading reading = {index, contents, contents->size};
    return host_run(survey->keystore, run_nv, &reading, err) < 0
               ? error_prepend(err, "reading the NV index 0x%x", index)
               : 0;
}

/* pkey NULL: any. */
static bool is_key(const TPM2B_PUBLIC *public, const EVP_PKEY *pkey)
{
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *own = NULL;
    return !pkey ||
           (public_pkey(&public->publicArea, &own, NULL) == 0 && EVP_PKEY_eq(own, pkey) == 1);
}

static int find_persistent(const struct survey *survey, const EVP_PKEY *pkey, struct host_ek *ek,
                           bool *ret_is_found, struct error *err)
{
    for (size_t i = 0; !*ret_is_found && i < survey->persistent_count; i++) {
        if (survey->persistent[i].template == ek->template &&
            is_key(&survey->persistent[i].public, pkey)) {
            TRY(host_ek_take_persistent(ek, survey->persistent[i].handle,
                                        &survey->persistent[i].public, err));
            *ret_is_found = true;
        }
    }
    return 0;
}

/* A template with a unique field of its own, or a nonce for it (EK Credential Profile 2.x 2.2.1.4);
 * which of them is where differs. */
static bool take_request(struct host_ek *ek, struct bytes contents)
{
    const TPMT_PUBLIC *plain = &ek->template->public;
    TPMT_PUBLIC public;
    ek->request.publicArea = *plain;
    TPMU_PUBLIC_ID *unique = &ek->request.publicArea.unique;
    if (public_parse(contents, &public, NULL) == 0) {
        ek->request.publicArea = public;
        return ek_template_of(&public) == ek->template;
    }
    bool is_rsa = plain->type == TPM2_ALG_RSA;
    size_t room = is_rsa ? plain->unique.rsa.size : plain->unique.ecc.x.size;
    if (contents.size == 0 || contents.size > room) {
        return false;
    }
    memcpy(is_rsa ? unique->rsa.buffer : unique->ecc.x.buffer, contents.data, contents.size);
    return true;
}

/* Makes the EK as the template says; where that is not the key that is looked for, as NV says
 * beside the certificate. */
static int make_key(const struct survey *survey, const EVP_PKEY *pkey, struct host_ek *ek,
                    bool *ret_is_found, struct error *err)
{
    bool is_refused = false;
    TRY(host_ek_make(survey->keystore, ek, &is_refused, err));
    *ret_is_found = !is_refused && is_key(&ek->public, pkey);
    for (TPM2_HANDLE i = 1; !*ret_is_found && !is_refused && i <= REQUEST_INDICES; i++) {
        _cleanup_(buffer_clear) struct buffer contents = {0};
        TPM2_HANDLE index = ek->template->certificate_index + i;
        if (!has_index(survey, index)) {
            continue;
        }
        TRY(read_index(survey, index, &contents, err));
        if (take_request(ek, buffer_bytes(&contents))) {
            ek->object.name.size = 0;
            buffer_clear(&ek->object.context);
            TRY(host_ek_make(survey->keystore, ek, &is_refused, err));
            *ret_is_found = !is_refused && is_key(&ek->public, pkey);
        }
    }
    return 0;
}

/* The EK of the template, with that key if one is given. *ret_ek stays NULL: it is not there. */
static int find_key(const struct survey *survey, const struct ek_template *template,
                    const EVP_PKEY *pkey, struct host_ek **ret_ek, struct error *err)
{
    _cleanup_(host_ek_free_cleanup) struct host_ek *ek = host_ek_new(template);
    bool is_found = false;
    TRY(find_persistent(survey, pkey, ek, &is_found, err));
    if (!is_found) {
        TRY(make_key(survey, pkey, ek, &is_found, err));
    }
    if (is_found) {
        *ret_ek = take_ptr(ek);
    }
    return 0;
}

/* By a certificate in NV, if there is one for the template. *ret_ek NULL: there is none. */
static int find_certified(const struct survey *survey, const struct ek_template *template,
                          struct host_ek **ret_ek, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer der = {0};
    _cleanup_(x509_cleanup) X509 *certificate = NULL;
    size_t size = 0;
    struct error reason;
    if (!has_index(survey, template->certificate_index)) {
        return 0;
    }
    TRY(read_index(survey, template->certificate_index, &der, err));
    if (der.size == 0) {
        return 0;
    }
    _cleanup_(evp_pkey_cleanup) EVP_PKEY *pkey =
        ek_certificate_parse(buffer_bytes(&der), &certificate, &size, &reason) == 0
            ? ek_certificate_pkey(certificate, &reason)
            : NULL;
    if (!pkey) {
        log_warning("the NV index 0x%x is passed over: %s", template->certificate_index,
                    reason.text);
        return 0;
    }
    TRY(find_key(survey, template, pkey, ret_ek, err));
    if (!*ret_ek) {
        log_warning("the EK certificate at the NV index 0x%x is passed over: it is not of the key "
                    "that this TPM makes from template %s",
                    template->certificate_index, template->name);
        return 0;
    }
    host_add_certificate(&(*ret_ek)->certificates, (struct bytes){der.data, size});
    return 0;
}

/* Those of issuers, as far as they can be read. */
static int add_chain(const struct survey *survey, struct host_ek *ek, struct error *err)
{
    _cleanup_(buffer_clear) struct buffer all = {0};
    size_t indices = 0;
    for (size_t i = 0; i < MIN(survey->indices.count, ARRAY_SIZE(survey->indices.handle)); i++) {
        TPM2_HANDLE index = survey->indices.handle[i];
        if (index >= CHAIN_FIRST && index <= CHAIN_LAST && indices++ < CHAIN_INDICES_MAX) {
            TRY(read_index(survey, index, &all, err));
        }
    }
    struct bytes rest = buffer_bytes(&all);
    while (rest.size > 0 && ek->certificates.count < EVIDENCE_CHAIN_MAX) {
        _cleanup_(x509_cleanup) X509 *certificate = NULL;
        size_t size = 0;
        if (ek_certificate_parse(rest, &certificate, &size, NULL) < 0) {
            break;
        }
        host_add_certificate(&ek->certificates, (struct bytes){rest.data, size});
        rest = (struct bytes){rest.data + size, rest.size - size};
    }
    return 0;
}

/* A key that cannot be had now may be had by another certificate: its error comes last. */
static int find_any_certified(const struct survey *survey, struct host_ek **ret_ek,
                              struct error *err)
{
    struct error reason;
    int result = 0;
    for (size_t i = 0; !*ret_ek && ek_template_at(i); i++) {
        if (find_certified(survey, ek_template_at(i), ret_ek, &reason) == 0) {
            continue;
        }
        if (reason.code != ERROR_FAILED_PRECONDITION) {
            return error_set(err, reason.code, "%s", reason.text);
        }
        result = error_set(err, reason.code, "%s", reason.text);
    }
    return *ret_ek ? 0 : result;
}

static int find_bare(const struct survey *survey, struct host_ek **ret_ek, struct error *err)
{
    const struct ek_template *template = NULL;
    for (size_t i = 0; !*ret_ek && (template = ek_template_at(i)); i++) {
        if (template->is_low_range) {
            TRY(find_key(survey, template, NULL, ret_ek, err));
        }
    }
    return *ret_ek ? 0
                   : error_set(err, ERROR_UNIMPLEMENTED,
                               "this TPM makes neither a P-256 nor an RSA-2048 endorsement key; is "
                               "it a TPM 2.0 of the PC Client profile?");
}

int host_ek_find(struct keystore *keystore, struct host_ek **ret_ek, struct error *err)
{
    _cleanup_(free_cleanup) struct survey *survey = NEW(struct survey);
    _cleanup_(host_ek_free_cleanup) struct host_ek *ek = NULL;
    survey->keystore = keystore;
    if (host_run(keystore, run_survey, survey, err) < 0 ||
        find_any_certified(survey, &ek, err) < 0 ||
        (ek ? add_chain(survey, ek, err) : find_bare(survey, &ek, err)) < 0) {
        return error_prepend(err, "finding the TPM's endorsement key");
    }
    *ret_ek = take_ptr(ek);
    return 0;
}
