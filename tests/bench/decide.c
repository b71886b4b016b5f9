/* Measures how long it takes to decide, with few rules and with many, in turn within one run;
 * tests/bench/run prints the table.
 *
 *     bench_decide FOLDER [COUNT]
 *
 * FOLDER: an empty one, for the locks. COUNT: decisions for each figure of a round. Prints, for
 * each kind of decision, "NAME FEW_NS MANY_NS RATIO", each the median of the rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/policy/policy.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum { FEW = 10, MANY = 10000, ROUNDS = 11, COUNT_DEFAULT = 200000, IDS = 64 };

_Noreturn static void die(const char *what)
{
    (void)fprintf(stderr, "bench_decide: %s\n", what);
    exit(1);
}

/* Exact ones and patterns in turns, as for the services of as many teams, and one for all others.
 */
static struct rules *make_rules(size_t count)
{
    struct rules *rules = NEW(struct rules);
    rules->items = memory_new_array(count, sizeof(*rules->items));
    rules->count = count;
    for (size_t i = 0; i < count; i++) {
        struct rule *rule = &rules->items[i];
        rule->pattern = i + 1 == count ? memory_copy_text("*")
                                       : text_format("spiffe://example.org/team-%zu/%s", i / 2,
                                                     i % 2 ? "*" : "front");
        rule->max_process_age_s = 365 * 86400;
    }
    rules_prepare(rules);
    return rules;
}

struct subject {
    struct policy *policy;
    size_t rules;
    char *ids[IDS]; /* matched by rules all over the set, some by the last alone */
    struct policy_holder holder;
};

static void subject_open(struct subject *subject, const char *folder, size_t rules)
{
    struct error err;
    subject->rules = rules;
    if (policy_new(folder, make_rules(rules), &subject->policy, &err) < 0) {
        die(err.text);
    }
    for (size_t i = 0; i < IDS; i++) {
        static const char *const ends[] = {"front", "back/end", "api"};
        subject->ids[i] =
            text_format("spiffe://example.org/team-%zu/%s", i * 7919 % (i % 8 ? rules / 2 : MANY),
                        ends[i % ARRAY_SIZE(ends)]);
    }
}

static void subject_close(struct subject *subject)
{
    policy_free(subject->policy);
    for (size_t i = 0; i < IDS; i++) {
        free(subject->ids[i]);
    }
}

static void find(struct subject *subject, size_t i)
{
    if (!rules_find(policy_rules(subject->policy), subject->ids[i % IDS])) {
        die("no rule matches");
    }
}

static void decide_holder(struct subject *subject, size_t i)
{
    static struct policy_answer answer;
    policy_decide_holder(subject->policy, subject->ids[i % IDS], &subject->holder, 1795262400,
                         &answer);
    if (!answer.is_allowed) {
        die(answer.reason);
    }
}

static double measure(struct subject *subject, void (*decide)(struct subject *subject, size_t i),
                      size_t count)
{
    uint64_t start_ns = meter_now_ns();
    for (size_t i = 0; i < count; i++) {
        decide(subject, i);
    }
    return (double)(meter_now_ns() - start_ns) / (double)count;
}

static int compare(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static double median(double *figures)
{
    qsort(figures, ROUNDS, sizeof(*figures), compare);
    return figures[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*decide)(struct subject *subject, size_t i);
    } kinds[] = {{"rules_find", find}, {"policy_decide_holder", decide_holder}};
    uint64_t count = COUNT_DEFAULT;
    struct subject few = {0}, many = {0};
    if (argc < 2 || argc > 3 ||
        (argc == 3 && text_parse_u64(argv[2], 1, UINT32_MAX, &count, NULL) < 0)) {
        die("usage: bench_decide FOLDER [COUNT]");
    }
    struct text_list selectors = {0};
    text_list_add(&selectors, "unix:uid:1000");
    const struct audit_process process = {
        .pid = getpid(),
        .start_time = clock_monotonic_ms() / 1000 * (uint64_t)sysconf(_SC_CLK_TCK),
        .selectors = &selectors,
    };
    few.holder.process = many.holder.process = &process;
    subject_open(&few, argv[1], FEW);
    subject_open(&many, argv[1], MANY);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        double few_ns[ROUNDS], many_ns[ROUNDS], ratios[ROUNDS];
        for (size_t round = 0; round < ROUNDS; round++) {
            few_ns[round] = measure(&few, kinds[i].decide, count);
            many_ns[round] = measure(&many, kinds[i].decide, count);
            ratios[round] = many_ns[round] / few_ns[round];
        }
        (void)printf("%s %.1f %.1f %.2f\n", kinds[i].name, median(few_ns), median(many_ns),
                     median(ratios));
    }
    subject_close(&few);
    subject_close(&many);
    text_list_clear(&selectors);
    return 0;
}
