/* Workers of the keystore that are kept busy, so that signatures wait. */
#pragma once

#include <semaphore.h>

#include "tests/unit/pkcs11/token/identities.h"

/* Keeps a worker busy until it is let go. */
struct obstacle {
    struct keystore_job job;
    sem_t begun, go, ended;
};

static inline void stand_in_the_way(struct keystore_job *job)
{
    struct obstacle *obstacle = container_of(job, struct obstacle, job);
    (void)sem_post(&obstacle->begun);
    (void)sem_wait(&obstacle->go);
    (void)sem_post(&obstacle->ended);
}

enum { WORKERS = 2 };

static inline void block_workers(struct identities *identities, struct obstacle *obstacles)
{
    for (size_t i = 0; i < WORKERS; i++) {
        obstacles[i] = (struct obstacle){
            .job = {.run = stand_in_the_way, .priority = KEYSTORE_PRIORITY_USE, .flow = i + 100}};
        (void)sem_init(&obstacles[i].begun, 0, 0);
        (void)sem_init(&obstacles[i].go, 0, 0);
        (void)sem_init(&obstacles[i].ended, 0, 0);
        assert_int_equal(keystore_submit(identities->fixture.keystore, &obstacles[i].job, NULL), 0);
        (void)sem_wait(&obstacles[i].begun);
    }
}

static inline void free_workers(struct obstacle *obstacles)
{
    for (size_t i = 0; i < WORKERS; i++) {
        (void)sem_post(&obstacles[i].go);
        (void)sem_wait(&obstacles[i].ended);
    }
}

static inline uint64_t signatures_made(struct identities *identities)
{
    struct keystore_status status;
    keystore_status(identities->fixture.keystore, &status);
    return status.signatures;
}

static inline void begin_and_sign(struct identities *identities, struct outcome *outcome)
{
    assert_int_equal(begin(identities, CKM_ECDSA, key_of(identities, KEY_TYPE_EC_P256)), CKR_OK);
    assert_int_equal(sign(identities, (struct bytes){message, 32}, false, outcome), CKR_OK);
}
