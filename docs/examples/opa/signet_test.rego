# opa test docs/examples/opa
package signet_test

import data.signet

payments := {
	"action": "use",
	"spiffe_id": "spiffe://example.org/payments/api",
	"trust_domain": "example.org",
	"entry": "1",
	"rule": "*",
	"audience": null,
	"process": {
		"pid": 42,
		"uid": 1000,
		"gid": 1000,
		"started_at": "2026-01-01T00:00:00.000Z",
		"executable": "/usr/bin/payments",
		"sha256": null,
		"unit": "payments.service",
		"container_id": null,
		"selectors": ["unix:uid:1000"],
	},
}

with_process(change) := object.union(payments, {"process": object.union(payments.process, change)})

denied(reason) if {
	not signet.allow.allow
	contains(signet.allow.reason, reason)
}

test_service_is_allowed if {
	signet.allow == {"allow": true, "reason": ""} with input as payments
}

test_renewal_ahead_of_use_is_allowed if {
	signet.allow.allow with input as object.union(payments, {"action": "issue", "process": null})
}

test_shell_is_denied if {
	denied("/bin/bash may not act as payments") with input as with_process({"executable": "/bin/bash"})
}

test_shell_of_others_is_allowed if {
	other := object.union(payments, {"spiffe_id": "spiffe://example.org/tools/build"})
	signet.allow.allow with input as object.union(other, {"process": {"executable": "/bin/bash"}})
}

test_other_unit_is_denied if {
	denied("payments.service alone") with input as with_process({"unit": "cron.service"})
}

test_no_unit_is_denied if {
	denied("payments.service alone") with input as with_process({"unit": null})
}

test_both_reasons_are_told if {
	asked := with_process({"unit": null, "executable": "/usr/bin/python3"})
	denied("python3 may not") with input as asked
	denied("payments.service alone") with input as asked
}

test_token_for_ledger_is_allowed if {
	signet.allow.allow with input as object.union(payments, {"action": "jwt", "audience": ["ledger"]})
}

test_token_for_somebody_else_is_denied if {
	asked := object.union(payments, {"action": "jwt", "audience": ["ledger", "elsewhere"]})
	denied("no business with elsewhere") with input as asked
}

test_freeze_denies_all_but_system if {
	denied("a freeze is in force") with input as payments with data.settings.freeze as true
	system := object.union(payments, {"spiffe_id": "spiffe://example.org/system/log"})
	signet.allow.allow with input as system with data.settings.freeze as true
	signet.allow.allow with input as payments with data.settings.freeze as false
}

test_old_batch_job_is_denied if {
	batch := object.union(payments, {"spiffe_id": "spiffe://example.org/batch/report"})
	signet.allow.allow with input as batch
		with time.now_ns as time.parse_rfc3339_ns("2026-01-01T23:59:00Z")
	denied("more than a day") with input as batch
		with time.now_ns as time.parse_rfc3339_ns("2026-01-02T00:01:00Z")
}

test_batch_job_of_unknown_age_is_denied if {
	batch := object.union(payments, {"spiffe_id": "spiffe://example.org/batch/report"})
	denied("more than a day") with input as object.union(batch, {"process": {"started_at": null}})
}

test_unknown_question_is_denied if {
	denied("does not know") with input as {}
	denied("does not know") with input as object.union(payments, {"action": "export"})
}
