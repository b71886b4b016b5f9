#include "lib/rpc/server_internal.h"

void budget_init(struct budget *budget, const struct budget_rate *rate, uint64_t now_ms)
{
    *budget = (struct budget){rate->burst, now_ms};
}

void budget_earn(struct budget *budget, const struct budget_rate *rate, uint32_t tokens)
{
    budget->tokens = MIN(rate->burst, budget->tokens + tokens);
}

bool budget_spend(struct budget *budget, const struct budget_rate *rate, uint64_t now_ms)
{
    uint64_t earned = (now_ms - budget->filled_ms) * rate->per_second / 1000;
    if (earned > 0) {
        budget_earn(budget, rate, (uint32_t)MIN(earned, rate->burst));
        budget->filled_ms = now_ms;
    }
    if (budget->tokens == 0) {
        return false;
    }
    budget->tokens--;
    return true;
}
