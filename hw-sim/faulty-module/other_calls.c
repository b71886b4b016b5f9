/* The functions that signet has no use for: passed on, unless a rule says otherwise. */
#include "hw-sim/faulty-module/faulty_module.h"

/* Defines the wrapper of one function. */
#define PASS(name, parameters, arguments)                                                          \
    static CK_RV pass_##name parameters                                                            \
    {                                                                                              \
        CK_RV rv = faulty_begin(#name);                                                            \
        if (rv == CKR_OK) {                                                                        \
            rv = faulty_real()->name arguments;                                                    \
            faulty_end();                                                                          \
        }                                                                                          \
        return rv;                                                                                 \
    }

PASS(C_GetMechanismList, (CK_SLOT_ID slot, CK_MECHANISM_TYPE *types, CK_ULONG *count),
     (slot, types, count))
PASS(C_InitToken, (CK_SLOT_ID slot, unsigned char *pin, CK_ULONG size, unsigned char *label),
     (slot, pin, size, label))
PASS(C_InitPIN, (CK_SESSION_HANDLE session, unsigned char *pin, CK_ULONG size),
     (session, pin, size))
PASS(C_SetPIN,
     (CK_SESSION_HANDLE session, unsigned char *old_pin, CK_ULONG old_size, unsigned char *new_pin,
      CK_ULONG new_size),
     (session, old_pin, old_size, new_pin, new_size))
PASS(C_GetOperationState, (CK_SESSION_HANDLE session, unsigned char *state, CK_ULONG *size),
     (session, state, size))
PASS(C_SetOperationState,
     (CK_SESSION_HANDLE session, unsigned char *state, CK_ULONG size, CK_OBJECT_HANDLE cipher,
      CK_OBJECT_HANDLE signer),
     (session, state, size, cipher, signer))
PASS(C_CreateObject,
     (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count,
      CK_OBJECT_HANDLE *object),
     (session, attributes, count, object))
PASS(C_CopyObject,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE from, CK_ATTRIBUTE *attributes, CK_ULONG count,
      CK_OBJECT_HANDLE *object),
     (session, from, attributes, count, object))
PASS(C_GetObjectSize, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size),
     (session, object, size))
PASS(C_SetAttributeValue,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG count),
     (session, object, attributes, count))
PASS(C_EncryptInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
PASS(C_Encrypt,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_EncryptUpdate,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_EncryptFinal, (CK_SESSION_HANDLE session, unsigned char *out, CK_ULONG *out_size),
     (session, out, out_size))
PASS(C_DecryptInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
PASS(C_Decrypt,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_DecryptUpdate,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_DecryptFinal, (CK_SESSION_HANDLE session, unsigned char *out, CK_ULONG *out_size),
     (session, out, out_size))
PASS(C_DigestInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism), (session, mechanism))
PASS(C_Digest,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_DigestUpdate, (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size),
     (session, in, in_size))
PASS(C_DigestKey, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key), (session, key))
PASS(C_DigestFinal, (CK_SESSION_HANDLE session, unsigned char *out, CK_ULONG *out_size),
     (session, out, out_size))
PASS(C_SignUpdate, (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size),
     (session, in, in_size))
PASS(C_SignFinal, (CK_SESSION_HANDLE session, unsigned char *out, CK_ULONG *out_size),
     (session, out, out_size))
PASS(C_SignRecoverInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
PASS(C_SignRecover,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_VerifyInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
PASS(C_Verify,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *signature,
      CK_ULONG signature_size),
     (session, in, in_size, signature, signature_size))
PASS(C_VerifyUpdate, (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size),
     (session, in, in_size))
PASS(C_VerifyFinal, (CK_SESSION_HANDLE session, unsigned char *signature, CK_ULONG signature_size),
     (session, signature, signature_size))
PASS(C_VerifyRecoverInit,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
PASS(C_VerifyRecover,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_DigestEncryptUpdate,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_DecryptDigestUpdate,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_SignEncryptUpdate,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_DecryptVerifyUpdate,
     (CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_size, unsigned char *out,
      CK_ULONG *out_size),
     (session, in, in_size, out, out_size))
PASS(C_GenerateKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *attributes, CK_ULONG count,
      CK_OBJECT_HANDLE *key),
     (session, mechanism, attributes, count, key))
PASS(C_WrapKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapper,
      CK_OBJECT_HANDLE key, unsigned char *out, CK_ULONG *out_size),
     (session, mechanism, wrapper, key, out, out_size))
PASS(C_UnwrapKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapper,
      unsigned char *in, CK_ULONG in_size, CK_ATTRIBUTE *attributes, CK_ULONG count,
      CK_OBJECT_HANDLE *key),
     (session, mechanism, wrapper, in, in_size, attributes, count, key))
PASS(C_DeriveKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
      CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *key),
     (session, mechanism, base, attributes, count, key))
PASS(C_SeedRandom, (CK_SESSION_HANDLE session, unsigned char *seed, CK_ULONG size),
     (session, seed, size))
PASS(C_GetFunctionStatus, (CK_SESSION_HANDLE session), (session))
PASS(C_CancelFunction, (CK_SESSION_HANDLE session), (session))
PASS(C_WaitForSlotEvent, (CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved),
     (flags, slot, reserved))

#define USE(name) list->name = pass_##name

void faulty_fill_others(CK_FUNCTION_LIST *list)
{
    USE(C_GetMechanismList);
    USE(C_InitToken);
    USE(C_InitPIN);
    USE(C_SetPIN);
    USE(C_GetOperationState);
    USE(C_SetOperationState);
    USE(C_CreateObject);
    USE(C_CopyObject);
    USE(C_GetObjectSize);
    USE(C_SetAttributeValue);
    USE(C_EncryptInit);
    USE(C_Encrypt);
    USE(C_EncryptUpdate);
    USE(C_EncryptFinal);
    USE(C_DecryptInit);
    USE(C_Decrypt);
    USE(C_DecryptUpdate);
    USE(C_DecryptFinal);
    USE(C_DigestInit);
    USE(C_Digest);
    USE(C_DigestUpdate);
    USE(C_DigestKey);
    USE(C_DigestFinal);
    USE(C_SignUpdate);
    USE(C_SignFinal);
    USE(C_SignRecoverInit);
    USE(C_SignRecover);
    USE(C_VerifyInit);
    USE(C_Verify);
    USE(C_VerifyUpdate);
    USE(C_VerifyFinal);
    USE(C_VerifyRecoverInit);
    USE(C_VerifyRecover);
    USE(C_DigestEncryptUpdate);
    USE(C_DecryptDigestUpdate);
    USE(C_SignEncryptUpdate);
    USE(C_DecryptVerifyUpdate);
    USE(C_GenerateKey);
    USE(C_WrapKey);
    USE(C_UnwrapKey);
    USE(C_DeriveKey);
    USE(C_SeedRandom);
    USE(C_GetFunctionStatus);
    USE(C_CancelFunction);
    USE(C_WaitForSlotEvent);
}
