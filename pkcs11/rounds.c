#include "pkcs11/rounds.h"

#include "lib/base/macro.h"

void rounds_init(struct rounds *rounds)
{
    *rounds = (struct rounds){.now = ROUNDS_LEAD};
    for (size_t i = 0; i < ARRAY_SIZE(rounds->lists); i++) {
        TAILQ_INIT(&rounds->lists[i]);
    }
}

static struct rounds_list *list_of(struct rounds *rounds, uint64_t round)
{
    return &rounds->lists[round % ARRAY_SIZE(rounds->lists)];
}

void rounds_add(struct rounds *rounds, struct rounds_turn *turn)
{
    if (turn->is_waiting) {
        return;
    }
    turn->is_waiting = true;
    turn->round = MAX(turn->round, rounds->now - ROUNDS_LEAD);
    TAILQ_INSERT_TAIL(list_of(rounds, turn->round), turn, link);
    rounds->waiting++;
}

void rounds_remove(struct rounds *rounds, struct rounds_turn *turn)
{
    if (!turn->is_waiting) {
        return;
    }
    turn->is_waiting = false;
    TAILQ_REMOVE(list_of(rounds, turn->round), turn, link);
    rounds->waiting--;
}

/* The first of the earliest round from that on. */
static struct rounds_turn *first_from(struct rounds *rounds, uint64_t round)
{
    struct rounds_turn *turn = NULL;
    for (; !turn && round <= rounds->now + 1; round++) {
        turn = TAILQ_FIRST(list_of(rounds, round));
    }
    return turn;
}

/* One of a later round than the earliest; each of them comes to it in time. */
static struct rounds_turn *find_patient(struct rounds *rounds, uint64_t earliest)
{
    uint64_t later = rounds->now + 1 - earliest;
    struct rounds_turn *turn = first_from(rounds, earliest + 1 + rounds->patience++ % later);
    return turn ? turn : first_from(rounds, earliest + 1);
}

struct rounds_turn *rounds_next(struct rounds *rounds)
{
    struct rounds_turn *turn = first_from(rounds, rounds->now - ROUNDS_LEAD);
    if (!turn) {
        return NULL;
    }
    if (turn->round >= rounds->now) {
        rounds->now = turn->round;
        rounds->run = 0;
    } else if (++rounds->run > ROUNDS_RUN) {
        struct rounds_turn *patient = find_patient(rounds, turn->round);
        turn = patient ? patient : turn;
        rounds->run = 0;
    }
    rounds_remove(rounds, turn);
    /* A turn of the next round, which has not begun, was one more than its own. */
    turn->round = MIN(turn->round, rounds->now) + 1;
    return turn;
}
