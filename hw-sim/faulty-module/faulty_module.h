/* What the files of the faulty module share. */
#pragma once

#include <p11-kit/pkcs11.h>

/* What becomes of a call of the function: CKR_OK to pass it on, then faulty_end. */
CK_RV faulty_begin(const char *function);
void faulty_end(void);

/* The module behind. */
CK_FUNCTION_LIST *faulty_real(void);

/* Fills in the functions of other_calls.c. */
void faulty_fill_others(CK_FUNCTION_LIST *list);

/* A session that the module behind has opened. */
void faulty_count_session(CK_SESSION_HANDLE session);
/* Writes "sessions N objects N" to the file beside the control file that ends in ".counts". */
void faulty_write_counts(const char *control);
