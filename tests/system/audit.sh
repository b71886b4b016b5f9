# Looking into the audit log of the lab's agent. Source it after in_lab.
# shellcheck shell=bash
audit_folder=$LAB_DIR/data/audit

# Words for records, by the names that their members have in docs/audit.md.
# shellcheck disable=SC2016 # $action and the like are jq's
audit_words='
def is($action): ."event.action" == $action;
def of($id): ."signet.spiffe_id" == $id;
def by($kind; $id): ."signet.decision.by" == $kind and ."signet.decision.id" == $id;
def went_well: ."event.outcome" == "success";
def failed: ."event.outcome" == "failure";
'
audit_records() { find "$audit_folder" -maxdepth 1 -name 'audit-*.jsonl' -print0 | sort -z | xargs -0r cat; }
# audit_has CONDITION: a record that it is true of. The last line may be half written: then not yet.
audit_has() { audit_records | jq -se "$audit_words any(.[]; $1)" >/dev/null 2>&1; }
# audit_first CONDITION: the first such record.
audit_first() { audit_records | jq -cs "$audit_words map(select($1)) | first"; }
# expect_record CONDITION: such a record, soon; it stays in "record".
expect_record() {
    wait_until 30 audit_has "$1" || fail "no record is like this: $1 ; the last ones: $(audit_records | tail -n 30)"
    # shellcheck disable=SC2034 # for who calls it
    record=$(audit_first "$1")
}
