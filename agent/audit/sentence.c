#include "agent/audit/sentence.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct sentence {
    char *text;
    size_t used;
};

static void say(struct sentence *sentence, const char *text)
{
    size_t size = MIN(strlen(text), (size_t)AUDIT_SENTENCE_BYTES - 1 - sentence->used);
    memcpy(sentence->text + sentence->used, text, size);
    sentence->used += size;
}

static void say_number(struct sentence *sentence, uint64_t number)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    say(sentence, digits + at);
}

static void say_process(struct sentence *sentence, const struct audit_event *event)
{
    const struct audit_process *process = event->process;
    if (!process) {
        say(sentence, "the agent");
        return;
    }
    say(sentence, "process ");
    say_number(sentence, (uint64_t)process->pid);
    if (process->executable) {
        say(sentence, " (");
        say(sentence, process->executable);
        say(sentence, ")");
    }
}

static void say_identity(struct sentence *sentence, const struct audit_event *event)
{
    say(sentence, event->spiffe_id ? event->spiffe_id : "an identity");
}

/* What evidence is about. */
static void say_subject(struct sentence *sentence, const struct audit_event *event)
{
    say(sentence, event->spiffe_id ? "the key of " : "the node");
    say(sentence, event->spiffe_id ? event->spiffe_id : "");
}

/* What a lock holds: all of the node where no identity is named. */
static void say_target(struct sentence *sentence, const struct audit_event *event)
{
    say(sentence, event->spiffe_id ? event->spiffe_id : "what the lock names");
}

static void say_credential(struct sentence *sentence, const struct audit_event *event)
{
    const struct audit_credential *credential = event->credential;
    say(sentence, credential && credential->kind ? credential->kind : "credential");
    if (credential && credential->serial) {
        say(sentence, " ");
        say(sentence, credential->serial);
    }
}

static void say_detail(struct sentence *sentence, const struct audit_event *event)
{
    if (event->detail) {
        say(sentence, " (");
        say(sentence, event->detail);
        say(sentence, ")");
    }
}

typedef void (*part)(struct sentence *sentence, const struct audit_event *event);

/* In turn: words, part, words, part, words; of what was done, and of what failed. */
struct form {
    const char *words[3];
    part parts[2];
};

static const struct form forms[AUDIT_ACTION_COUNT][2] = {
    [AUDIT_IDENTIFIED] = {{{"", " was given to "}, {say_identity, say_process}},
                          {{"", " was not given to "}, {say_identity, say_process}}},
    [AUDIT_ISSUED] = {{{"", " was issued for "}, {say_credential, say_identity}},
                      {{"", " could not be issued for "}, {say_credential, say_identity}}},
    [AUDIT_RENEWED] = {{{"", " was renewed for "}, {say_credential, say_identity}},
                       {{"", " could not be renewed for "}, {say_credential, say_identity}}},
    [AUDIT_DENIED] = {{{"", " was refused to "}, {say_identity, say_process}},
                      {{"", " was refused to "}, {say_identity, say_process}}},
    [AUDIT_USED] = {{{"", " signed as "}, {say_process, say_identity}},
                    {{"", " could not sign as "}, {say_process, say_identity}}},
    [AUDIT_WITHDRAWN] = {{{"", " was taken from "}, {say_identity, say_process}},
                         {{"", " could not be taken from "}, {say_identity, say_process}}},
    [AUDIT_LOCKED] = {{{"", " was locked by "}, {say_target, say_process}},
                      {{"", " could not be locked by "}, {say_target, say_process}}},
    [AUDIT_UNLOCKED] = {{{"", " was unlocked by "}, {say_target, say_process}},
                        {{"", " could not be unlocked by "}, {say_target, say_process}}},
    [AUDIT_ENTRY_SET] = {{{"an entry for ", " was set by "}, {say_identity, say_process}},
                         {{"an entry for ", " could not be set by "}, {say_identity, say_process}}},
    [AUDIT_ENTRY_REMOVED] = {{{"an entry for ", " was removed by "}, {say_identity, say_process}},
                             {{"an entry for ", " could not be removed by "},
                              {say_identity, say_process}}},
    [AUDIT_RULES_CHANGED] = {{{"the rules were changed by ", ""}, {say_process, say_detail}},
                             {{"the rules could not be changed by ", ""},
                              {say_process, say_detail}}},
    [AUDIT_NODE_ATTESTED] = {{{"the node was attested"}, {say_detail}},
                             {{"the node could not be attested"}, {say_detail}}},
    [AUDIT_NODE_NOT_ATTESTED] = {{{"the node is not attested"}, {say_detail}},
                                 {{"the node is not attested"}, {say_detail}}},
    [AUDIT_EVIDENCE] = {{{"evidence about ", " was made for "}, {say_subject, say_process}},
                        {{"evidence about ", " could not be made for "},
                         {say_subject, say_process}}},
    [AUDIT_KEYSTORE_LOST] = {{{"a keystore was lost"}, {say_detail}},
                             {{"a keystore was lost"}, {say_detail}}},
    [AUDIT_KEYSTORE_BACK] = {{{"a keystore is back"}, {say_detail}},
                             {{"a keystore is not back"}, {say_detail}}},
    [AUDIT_STARTED] = {{{"the agent started"}, {say_detail}},
                       {{"the agent started with a damaged audit log"}, {say_detail}}},
    [AUDIT_STOPPED] = {{{"the agent stopped"}, {say_detail}},
                       {{"the agent stopped with a failure"}, {say_detail}}},
};

static void say_grounds(struct sentence *sentence, const struct audit_event *event)
{
    if (event->count > 1) {
        say(sentence, ", ");
        say_number(sentence, event->count);
        say(sentence, " times");
    }
    if (event->asked) {
        say(sentence, ", asked for ");
        say(sentence, event->asked);
    }
    if (event->decider != AUDIT_DECIDER_NONE) {
        say(sentence, ", decided by ");
        say(sentence, audit_decider_name(event->decider));
        say(sentence, event->decider_id ? " " : "");
        say(sentence, event->decider_id ? event->decider_id : "");
    }
    if (event->reason) {
        say(sentence, ": ");
        say(sentence, event->reason);
    }
}

void audit_sentence(const struct audit_event *event, char ret_text[AUDIT_SENTENCE_BYTES])
{
    struct sentence sentence = {.text = ret_text};
    const struct form *form = &forms[event->action][event->is_failure];
    for (size_t i = 0; i < ARRAY_SIZE(form->words); i++) {
        if (form->words[i]) {
            say(&sentence, form->words[i]);
        }
        if (i < ARRAY_SIZE(form->parts) && form->parts[i]) {
            form->parts[i](&sentence, event);
        }
    }
    say_grounds(&sentence, event);
    ret_text[sentence.used] = '\0';
}
